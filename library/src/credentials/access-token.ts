// Access tokens as RFC 9068 has them: a session ⇄ claims.
import type { RefusedReason } from '../events.ts'
import { decodeIdentity, encodeIdentity, nobody } from '../identity.ts'
import type { SessionRecord } from '../store.ts'
import { isSessionId, type KnownSession, type Presented } from './credentials.ts'
import type { Claims } from './jwt.ts'

/** RFC 9068, section 2.1. */
export const accessTokenType = 'at+jwt'

export interface AccessTokenRules {
  readonly issuer: string
  readonly audiences: readonly string[]
  /** Who the client is where the session says nothing of one. */
  readonly clientId: string
  readonly lifetimeMs: number
  readonly toleranceMs: number
}

/** The claims of a token given out at `at`. */
export function claimsOf(record: Omit<SessionRecord, 'data'>, rules: AccessTokenRules, at: number, jti: string) {
  const { id, userId, createdAt, expiresAt, epoch } = record
  const { roles, claims, amr, acr, client, remembered } = decodeIdentity(record.identity)
  return {
    iss: rules.issuer,
    aud: rules.audiences.length === 1 ? rules.audiences[0] : rules.audiences,
    sub: userId ?? id,
    guest: userId === null ? true : undefined,
    sid: id,
    exp: seconds(Math.min(at + rules.lifetimeMs, expiresAt)),
    iat: seconds(at),
    jti,
    client_id: client ?? rules.clientId,
    roles: roles.length > 0 ? roles : undefined,
    amr: amr.length > 0 ? amr : undefined,
    acr: acr ?? undefined,
    auth_time: seconds(createdAt),
    epoch,
    remembered: remembered ? true : undefined,
    claims: Object.keys(claims).length > 0 ? claims : undefined,
  }
}

/** What the claims of a good signature prove at `now`. */
export function judgeClaims(claims: Claims, rules: AccessTokenRules, now: number): Presented {
  const { iss, aud, sid, exp, iat, nbf, jti, client_id: client } = claims
  const id = isSessionId(sid) ? sid : null
  const refused = (reason: RefusedReason): Presented => ({ kind: 'refused', reason, id })

  if (iss !== rules.issuer) return refused('issuer')
  const audiences = typeof aud === 'string' ? [aud] : aud
  if (!isTexts(audiences) || !audiences.some((audience) => rules.audiences.includes(audience)))
    return refused('audience')
  if (id === null || !isInstant(exp) || !isInstant(iat) || exp < iat || typeof jti !== 'string' || !isText(client))
    return refused('malformed')
  if (nbf !== undefined && !isInstant(nbf)) return refused('malformed')
  if (now >= exp * 1000 + rules.toleranceMs) return refused('expired')
  if (Math.max(iat, nbf ?? 0) * 1000 > now + rules.toleranceMs) return refused('not-yet-valid')

  const identity = identityIn(claims, client === rules.clientId ? null : client)
  const { sub, guest, auth_time: createdAt, epoch } = claims
  if (identity === null || !isText(sub) || !isInstant(createdAt) || !isCount(epoch)) return refused('malformed')
  if (guest !== undefined && (guest !== true || sub !== id)) return refused('malformed')
  const known: KnownSession = {
    id,
    userId: guest === true ? null : sub,
    credential: '',
    identity,
    data: null,
    createdAt: createdAt * 1000,
    seenAt: iat * 1000,
    expiresAt: exp * 1000,
    epoch,
    version: 0,
  }
  const expiresAt = exp * 1000 + rules.toleranceMs
  return { kind: 'proof', known, expiresAt, lifetimeMs: (exp - iat) * 1000 }
}

/** As a record has it; `null` when it is none. */
function identityIn(token: Claims, client: string | null): string | null {
  const { roles = [], amr = [], acr = null, claims = {}, remembered = false } = token
  if (!isTexts(roles) || !isTexts(amr) || (acr !== null && !isText(acr)) || !isRecord(claims)) return null
  if (typeof remembered !== 'boolean') return null
  return encodeIdentity({ ...nobody, roles, amr, acr, claims, client, remembered })
}

function isRecord(value: unknown): value is Claims {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Whole seconds since the epoch that are an instant in milliseconds, too. */
function isInstant(value: unknown): value is number {
  return isCount(value) && Number.isSafeInteger(value * 1000)
}

function seconds(at: number): number {
  return Math.floor(at / 1000)
}
