// Signed tokens: their keys, encrypted in the store beside the clients, and the credentials that use them.
import { ConfigError, type Credentials, type Feed } from 'holdfast'
import { keyring, type Keyring } from 'holdfast/credentials/keyring'
import { signedCredentials } from 'holdfast/credentials/signed'
import { tokensClient } from './clients.ts'
import { keySecret } from './data-folder.ts'
import { inTime } from './engines/in-time.ts'
import type { Engine } from './engines/engine.ts'
import type { Logger } from './logs.ts'
import type { Settings } from './settings.ts'
import { StartError } from './start-error.ts'

/** Rejects with `StartError` when the keys in the store were encrypted with another secret. */
export async function issueTokens(
  settings: Settings,
  engine: Engine,
  feed: Feed,
  logger: Logger,
): Promise<{ signed: Credentials; keys: Keyring }> {
  const keys = openKeyring(keySecret(settings), engine, feed, (err) =>
    logger.warn({ err }, 'the keys changed, and the feed did not take it: other replicas notice within a minute'),
  )
  try {
    await keys.maintain()
  } catch (error) {
    throw error instanceof ConfigError ? wrongSecret(error) : error
  }
  const { issuer, audience, accessToken: lifetime } = settings
  return { signed: signedCredentials({ issuer, audience, keys, lifetime, clientId: tokensClient }), keys }
}

/** Longer than any access token may live (HOLDFAST_ACCESS_TOKEN). */
const keepFor = '25h'

/** `unpublished` hears of a change that is done, and that others may not have heard of. */
export function openKeyring(
  secret: string,
  { clients }: Engine,
  feed: Feed,
  unpublished: (error: unknown) => void,
): Keyring {
  const onChange = () => inTime(feed.publish({ kind: 'keys' })).catch(unpublished)
  return keyring({ store: clients, secret, keepFor, onChange })
}

export function wrongSecret(cause: unknown): StartError {
  return new StartError(
    'HOLDFAST_SECRET: the signing keys in the store were encrypted with another secret: give all replicas the same one, or the file `secret` of the data folder that made them',
    cause,
  )
}
