// Cookies that express-session handed out: `s:` and the session's id, signed. They open their sessions as long as these live.
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
 * What the store keeps of a session whose only credential is such a cookie: nothing that opens it without the signature, which needs the
 * application's secret. It is none that another kind of credential keeps.
 */
export function credentialOf(sid: string): string {
  return `${ofOld}${hash('sha256', sid, 'base64url')}`
}

export function isOldCredential(kept: string): boolean {
  return kept.startsWith(ofOld)
}

/** Safe to log: it does not lead back to what it was made of. */
export function idOf(sid: string): string {
  return hash('sha256', `express-session:${sid}`, 'buffer').subarray(0, 16).toString('base64url')
}

const ofOld = 'express-session:'
