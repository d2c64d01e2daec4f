// Signatures on every runtime with WebCrypto, by jose.
import { CompactSign, compactVerify, importJWK } from 'jose'
import { publicJwk, type Jwk } from './jwk.ts'

export type Verify = (signed: string, signature: string) => boolean | Promise<boolean>
export type Sign = (header: { alg: string; typ: string; kid: string }, payload: string) => string | Promise<string>

const encoder = new TextEncoder()

/** Checks `signature`, in canonical base64url, over `signed`. With a key that is none nothing verifies. */
export function verifying(jwk: Jwk): Verify {
  const key = imported(publicJwk(jwk) ?? jwk)
  return async (signed, signature) => {
    try {
      await compactVerify(`${signed}.${signature}`, await key, { algorithms: [jwk.alg] })
      return true
    } catch {
      return false
    }
  }
}

/** Makes a compact JWS. Rejects when the key is none. */
export function signing(jwk: Jwk): Sign {
  const key = imported(jwk)
  return async (header, payload) => new CompactSign(encoder.encode(payload)).setProtectedHeader(header).sign(await key)
}

function imported(jwk: Jwk): ReturnType<typeof importJWK> {
  const key = importJWK({ ...jwk }, jwk.alg)
  // Heard of where it is used.
  key.catch(() => {})
  return key
}
