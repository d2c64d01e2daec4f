// Signatures on Node, where the synchronous crypto is a good deal faster than WebCrypto.
import { constants, createHmac, createPrivateKey, createPublicKey, sign, timingSafeEqual, verify } from 'node:crypto'
import type { JsonWebKeyInput, KeyObject } from 'node:crypto'
import type { Algorithm, Jwk } from './jwk.ts'

export type Verify = (signed: string, signature: string) => boolean | Promise<boolean>
export type Sign = (header: { alg: string; typ: string; kid: string }, payload: string) => string | Promise<string>

/** How `node:crypto` is told each algorithm: the hash, and what goes with the key. */
const how: Readonly<Record<Exclude<Algorithm, 'HS256'>, readonly [hash: string | null, options: object]>> = {
  EdDSA: [null, {}],
  ES256: ['sha256', { dsaEncoding: 'ieee-p1363' }],
  RS256: ['sha256', {}],
  PS256: ['sha256', { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
}

/** Checks `signature`, in canonical base64url, over `signed`. Throws when the key is none. */
export function verifying(jwk: Jwk): Verify {
  if (jwk.alg === 'HS256') {
    const hash = hmac(jwk)
    return (signed, signature) => {
      const expected = hash(signed)
      const given = Buffer.from(signature, 'base64url')
      return given.length === expected.length && timingSafeEqual(given, expected)
    }
  }
  const [hash, options] = how[jwk.alg]
  const key = { key: createPublicKey(asInput(jwk)), ...options }
  return (signed, signature) => verify(hash, Buffer.from(signed, 'latin1'), key, Buffer.from(signature, 'base64url'))
}

/** Makes a compact JWS. Throws when the key is none. */
export function signing(jwk: Jwk): Sign {
  const signature = signatureOf(jwk)
  return (header, payload) => {
    const signed = `${encoded(JSON.stringify(header))}.${encoded(payload)}`
    return `${signed}.${signature(signed).toString('base64url')}`
  }
}

function signatureOf(jwk: Jwk): (signed: string) => Buffer {
  if (jwk.alg === 'HS256') return hmac(jwk)
  const [hash, options] = how[jwk.alg]
  const key: { key: KeyObject } = { key: createPrivateKey(asInput(jwk)), ...options }
  return (signed) => sign(hash, Buffer.from(signed, 'latin1'), key)
}

function hmac(jwk: Jwk): (signed: string) => Buffer {
  const key = Buffer.from(jwk['k']!, 'base64url')
  return (signed) => createHmac('sha256', key).update(signed, 'latin1').digest()
}

function asInput(jwk: Jwk): JsonWebKeyInput {
  return { key: { ...jwk }, format: 'jwk' }
}

function encoded(text: string): string {
  return Buffer.from(text).toString('base64url')
}
