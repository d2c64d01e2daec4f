// Signed credentials: an access token that any service verifies by itself, and a refresh token for the next one.
import { base64url } from '#crypto'
import { ConfigError, DataError } from '../errors.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import type { SessionRecord } from '../store.ts'
import { accessTokenType, claimsOf, judgeClaims, type AccessTokenRules } from './access-token.ts'
import { after } from './after.ts'
import type { Credentials, Presented, Refresh, Tokens } from './credentials.ts'
import { maxLength, openJwt, type Opened } from './jwt.ts'
import { canSign, type SigningKeys, type VerifyingKeys } from './keys.ts'
import { firstToken, idIn, isKept, rotateToken } from './refresh-token.ts'

/** Who issues tokens to whom, by which keys, and for how long. */
export interface SignedOptions {
  /** Who issues the tokens, such as `https://accounts.example`; compared character by character. */
  readonly issuer: string
  /** Who the tokens are for. A token is accepted when it names one of them. */
  readonly audience: string | readonly string[]
  /** `keyring()`, `staticKeys()`; or `remoteKeys()`, with which tokens are verified but none are issued. */
  readonly keys: SigningKeys | VerifyingKeys
  /** The `client_id` of sessions that no client of the session service started. Default `holdfast`. */
  readonly clientId?: string | undefined
  /**
   * How long an access token is good; never longer than the session as it was when the token was made. Default 5 minutes. Where the
   * feed is not followed, or old, this is what an ending may take to be noticed by who trusts signatures alone.
   */
  readonly lifetime?: Duration | undefined
  /** For how long the refresh token before the current one gives the current one again, for lost answers and parallel tabs. Default 10 s. */
  readonly refreshWindow?: Duration | undefined
  /** By how much clocks may differ: `exp`, `nbf` and `iat` are each judged that much more kindly. Default 5 s. */
  readonly clockTolerance?: Duration | undefined
}

/**
 * Access tokens are JWTs of RFC 9068, `typ` `at+jwt`, signed with the algorithm of the key. They carry the identity, in clear text,
 * never data. Refresh tokens are good once; the store keeps only hashes of them. A spent one that comes back after `refreshWindow`,
 * or is older than the last, ends the session.
 *
 * Throws `ConfigError`, naming the option. Issuing throws `DataError` when roles and claims make a token longer than 8,192 characters,
 * and what the keys throw when they can't be had (`StoreUnavailableError`).
 */
export function signedCredentials(o: SignedOptions): Credentials {
  const { keys } = o
  const rules = checked(o)
  const windowMs = milliseconds('refreshWindow', o.refreshWindow ?? '10s')

  async function tokens(
    record: SessionRecord,
    at: number,
    refreshToken: string,
    random: (bytes: number) => Uint8Array,
  ): Promise<Tokens> {
    if (!canSign(keys)) throw new ConfigError('keys: these only verify; use keyring() or staticKeys() to issue tokens')
    const claims = claimsOf(record, rules, at, base64url(random(16)))
    const token = await (await keys.current()).sign(accessTokenType, JSON.stringify(claims))
    if (token.length > maxLength)
      throw new DataError(
        'data-too-large',
        'claims',
        `roles and claims make a token longer than ${maxLength} characters`,
      )
    return { token, refreshToken, expiresInMs: claims.exp * 1000 - at }
  }

  const refresh: Refresh = {
    read: idIn,
    async rotate(refreshToken, kept, now, random) {
      const rotated = await rotateToken(refreshToken, kept, windowMs, now, random)
      if (rotated.outcome === 'reused' || rotated.outcome === 'mismatch') return rotated
      const { outcome, token } = rotated
      return { outcome, kept: rotated.kept, tokens: (record) => tokens(record, now, token, random) }
    },
  }

  return {
    kind: 'signed',
    refresh: canSign(keys) ? refresh : null,
    reissue: null,
    keeps: isKept,
    async issue(random) {
      const id = base64url(random(16))
      const { token, kept } = await firstToken(id, random)
      // A session that begins was seen at that instant.
      return { id, kept, tokens: (record) => tokens(record, record.seenAt, token, random) }
    },
    present(token, now) {
      const opened = openJwt(token, accessTokenType, keys)
      return opened === null
        ? null
        : after<Opened, Presented>(opened, (result) =>
            'refused' in result
              ? { kind: 'refused', reason: result.refused, id: null }
              : judgeClaims(result.claims, rules, now),
          )
    },
    async keysChanged() {
      // What is known goes on to be used, and is asked for again before it is too old.
      await keys.refresh?.().catch(() => {})
    },
  }
}

function checked(o: SignedOptions): AccessTokenRules {
  const { issuer, keys, clientId = 'holdfast' } = o
  const audiences = [o.audience].flat()
  const isName = (name: unknown) => typeof name === 'string' && name !== ''
  if (!isName(issuer)) throw new ConfigError("issuer: expected a name such as 'https://accounts.example'")
  if (audiences.length === 0 || !audiences.every(isName))
    throw new ConfigError("audience: expected a name, or several, such as 'https://shop.example'")
  if (!isName(clientId)) throw new ConfigError('clientId: expected a name')
  if (typeof keys?.find !== 'function') throw new ConfigError('keys: expected keyring(), staticKeys() or remoteKeys()')
  const lifetimeMs = milliseconds('lifetime', o.lifetime ?? '5m')
  if (lifetimeMs < 1000) throw new ConfigError('lifetime: at least 1s; tokens count in whole seconds')
  const toleranceMs = milliseconds('clockTolerance', o.clockTolerance ?? '5s')
  return { issuer, audiences, clientId, lifetimeMs, toleranceMs }
}
