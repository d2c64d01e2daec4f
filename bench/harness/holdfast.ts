// Holdfast as the contenders use it, defaults but for what the variant says: on `memory` or `redis` without a feed; verified from
// the cache with `opaque`, `signed` or `sealed` credentials.
import type { ServerResponse } from 'node:http'
import { bearerTransport, createSessions, type SessionOf } from 'holdfast'
import { answerFrom, asksForData, connectRedis, contentOf, variant } from './contender.ts'
import { profile } from './person.ts'

export const sessions = createSessions({ ...(await parts()), data: { profile } })

/** Only what the variant needs is loaded. */
async function parts() {
  if (variant === 'memory') return { store: (await import('holdfast/stores/memory')).memoryStore() }
  const client = await connectRedis()
  const store = (await import('holdfast/stores/redis')).redisStore(client)
  if (variant === 'redis') return { store }
  const feed = (await import('holdfast/feeds/redis')).redisFeed(client)
  if (variant === 'opaque') return { store, feed }
  if (variant === 'signed') {
    const { credentials } = (await import('./tokens.ts')).signing('EdDSA')
    return { store, feed, credentials, transport: bearerTransport() }
  }
  const { sealedCredentials } = await import('holdfast/credentials/sealed')
  return { feed, credentials: sealedCredentials({ keys: 'a secret of the bench, and of nothing else' }) }
}

/** Signs person `n` in, and hands out what the transport does not, into `response`. */
export async function begin(session: SessionOf<typeof sessions>, n: number, response?: ServerResponse): Promise<void> {
  const { userId, roles, amr, data } = contentOf(n)
  const { token } = await session.signIn(userId, { roles, amr })
  if (data !== undefined) await session.update('profile', () => data)
  if (variant === 'signed') response!.setHeader('x-bearer', token)
}

/** At once where it is identity that is asked for. */
export function answerOf(session: SessionOf<typeof sessions>): object | Promise<object> {
  return asksForData ? withData(session) : answerFrom({ userId: session.userId!, roles: session.roles })
}

async function withData(session: SessionOf<typeof sessions>): Promise<object> {
  return answerFrom({ userId: session.userId!, roles: session.roles, data: await session.read('profile') })
}
