// Cookies that express-session handed out: `s:` and the session's id, signed.
import { createHmac, hash, timingSafeEqual, type BinaryLike, type KeyObject } from 'node:crypto'

export type Secret = BinaryLike | KeyObject

/** The session's id in the value of a cookie, as cookie-signature signs it by one of `secrets`; else `null`. */
export function signedId(value: string, secrets: readonly Secret[]): string | null {
  const dot = value.lastIndexOf('.')
  if (!value.startsWith('s:') || dot === -1) return null
  const id = value.slice(2, dot)
  const signature = Buffer.from(value.slice(dot + 1))
  const isSigned = secrets.some((secret) => {
    const expected = Buffer.from(createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, ''))
    return expected.length === signature.length && timingSafeEqual(expected, signature)
  })
  return isSigned ? id : null
}

/**
 * An id of express-session opens its session by itself. Here it becomes an opaque credential: an id that is safe to log, and a secret. Neither
 * leads back to what it was made of, nor one to the other.
 */
export function tokenOf(sid: string): string {
  return `${idOf(sid)}.${secretOf(sid)}`
}

/** What the store keeps of that credential. */
export function credentialOf(sid: string): string {
  return hash('sha256', secretOf(sid), 'base64url')
}

function secretOf(sid: string): string {
  return hash('sha256', `express-session secret:${sid}`, 'base64url')
}

export function idOf(sid: string): string {
  return hash('sha256', `express-session:${sid}`, 'buffer').subarray(0, 16).toString('base64url')
}
