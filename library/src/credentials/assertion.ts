// Assertions: what a service calls another one with on a user's behalf, in the form of a Transaction Token.
import { base64url } from '#crypto'
import { AccessError, ConfigError, DataError, SessionGoneError } from '../errors.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import { narrowed } from '../roles.ts'
import { claimsOf, judgeClaims } from './access-token.ts'
import { after } from './after.ts'
import { callersAtMost, type Asserting, type Presented, type Via } from './credentials.ts'
import { maxLength, openJwt, type Claims, type Opened } from './jwt.ts'
import { canSign, type SigningKeys, type VerifyingKeys } from './keys.ts'

/** Who this service is in the chain of calls, and by which keys it knows what others assert. */
export interface AssertionOptions {
  /** Who vouches for the chain, such as `https://accounts.example`: the same in all its services. */
  readonly issuer: string
  /** The name of this service: what others call it by as the audience, and what it is in `via.callers`. */
  readonly service: string
  /** `keyring()`, `staticKeys()`; or `remoteKeys()`, with which assertions are accepted but none are made. */
  readonly keys: SigningKeys | VerifyingKeys
  /** How long those are good that this service makes. Default 60 s, at most 1 h; a call is short, and a message that waits is not. */
  readonly lifetime?: Duration | undefined
  /** By how much clocks may differ, as for access tokens. Default 5 s. */
  readonly clockTolerance?: Duration | undefined
}

/** Of draft-ietf-oauth-transaction-tokens-10, section "Txn-Token Header". Nothing else is accepted as an assertion, and an assertion as nothing else. */
const assertionType = 'txntoken+jwt'
/** The `client_id` of sessions that no client of the session service started: the same for who asserts and who accepts. */
const clientId = 'holdfast'

/**
 * Accepts what other services assert to this one, and makes what this one asserts to others (`sessions.assertionFor`). Put it after the kind
 * that begins sessions, and `headerTransport('Txn-Token')` among `transport`.
 *
 * The form is that of draft-ietf-oauth-transaction-tokens-10 (`typ`, `txn`, `scope`, `req_wl`, the header field). It differs in that the
 * audience is one service, not the trust domain, so that each call has one of its own; in `sid` and `epoch`, by which an assertion ends with
 * its session; and in `act` (RFC 8693, section 4.1), which keeps the callers before.
 *
 * Throws `ConfigError`, naming the option.
 */
export function assertionCredentials(o: AssertionOptions): Asserting {
  const { issuer, service, keys } = o
  for (const [name, value] of Object.entries({ issuer, service })) {
    if (typeof value !== 'string' || value === '') throw new ConfigError(`${name}: expected a name`)
  }
  if (typeof keys?.find !== 'function') throw new ConfigError('keys: expected keyring(), staticKeys() or remoteKeys()')
  const lifetimeMs = milliseconds('lifetime', o.lifetime ?? '60s')
  if (lifetimeMs < 1000 || lifetimeMs > 3_600_000) throw new ConfigError('lifetime: expected 1s to 1h')
  const toleranceMs = milliseconds('clockTolerance', o.clockTolerance ?? '5s')
  const rules = (audience: string) => ({ issuer, audiences: [audience], clientId, lifetimeMs, toleranceMs })

  return {
    kind: 'assertion',
    refresh: null,
    reissue: null,
    keeps: () => false,
    issue() {
      throw new ConfigError(
        'credentials: an assertion begins no session; put opaqueCredentials() or another kind first',
      )
    },
    async assert(known, audience, scope, now, random) {
      if (!canSign(keys))
        throw new ConfigError('keys: these only verify; use keyring() or staticKeys() to make assertions')
      const { via } = known
      const callers = [...(via?.callers ?? []), service]
      if (callers.length > callersAtMost)
        throw new AccessError('forbidden', `the chain of calls is longer than ${callersAtMost} services`)
      const expiresAt = Math.min(known.expiresAt, via?.expiresAt ?? Infinity)
      if (now >= expiresAt) throw new SessionGoneError('what the session came by has expired')
      const claims = {
        ...claimsOf({ ...known, expiresAt }, rules(audience), now, base64url(random(16))),
        txn: via?.transaction ?? base64url(random(16)),
        scope: narrowed(via?.scope ?? ['*'], scope).join(' '),
        req_wl: service,
        act: callers.reduce<object | undefined>((before, sub) => ({ sub, act: before }), undefined),
      }
      const token = await (await keys.current()).sign(assertionType, JSON.stringify(claims))
      if (token.length > maxLength)
        throw new DataError(
          'data-too-large',
          'claims',
          `roles, claims and scope make an assertion longer than ${maxLength} characters`,
        )
      return { token, expiresInMs: Math.max(0, claims.exp * 1000 - now) }
    },
    present(token, now) {
      const opened = openJwt(token, assertionType, keys)
      if (opened === null) return null
      return after<Opened, Presented>(opened, (result) => {
        if ('refused' in result) return { kind: 'refused', reason: result.refused, id: null }
        const presented = judgeClaims(result.claims, rules(service), now)
        if (presented.kind !== 'proof') return presented
        const { known } = presented
        const via = viaIn(result.claims, known.expiresAt)
        if (via === null) return { kind: 'refused', reason: 'malformed', id: known.id }
        return { ...presented, known: { ...known, via } }
      })
    },
    async keysChanged() {
      // What is known goes on to be used, and is asked for again before it is too old.
      await keys.refresh?.().catch(() => {})
    },
  }
}

function viaIn({ txn, scope, req_wl: caller, act }: Claims, expiresAt: number): Via | null {
  const callers: string[] = []
  for (let actor = act; actor !== undefined; actor = (actor as { act?: unknown }).act) {
    const sub = (actor as { sub?: unknown } | null)?.sub
    if (typeof sub !== 'string' || sub === '' || callers.length === callersAtMost) return null
    callers.unshift(sub)
  }
  if (typeof txn !== 'string' || typeof scope !== 'string' || callers.length === 0 || callers.at(-1) !== caller)
    return null
  return { transaction: txn, callers, scope: scope === '' ? [] : scope.split(' '), expiresAt }
}
