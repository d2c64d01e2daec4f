// Signatures on Node, where the synchronous crypto is a good deal faster than WebCrypto.
import {
  constants,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto'
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
  const publicKey = createPublicKey(asInput(jwk))
  // Beside options Node looks the key up anew each time, for 13 to 20 µs; so ECDSA signatures are given in its own form.
  const key = jwk.alg === 'PS256' ? { key: publicKey, ...options } : publicKey
  const formed = jwk.alg === 'ES256' ? derOf : (raw: Buffer) => raw
  return (signed, signature) =>
    verify(hash, Buffer.from(signed, 'latin1'), key, formed(Buffer.from(signature, 'base64url')))
}

/** r and s, 32 bytes each (RFC 7518, section 3.4), as ASN.1; what has another length is nobody's signature. */
function derOf(raw: Buffer): Buffer {
  if (raw.length !== 64) return raw.subarray(0, 0)
  const r = integer(raw.subarray(0, 32))
  const s = integer(raw.subarray(32))
  return Buffer.concat([Buffer.from([0x30, r.length + s.length]), r, s])
}

/** As short as it can be, with a zero before what would be negative. */
function integer(bytes: Buffer): Buffer {
  let from = 0
  while (from < 31 && bytes[from] === 0) from++
  const digits = bytes.subarray(from)
  const head = digits[0]! >= 0x80 ? [0x02, digits.length + 1, 0] : [0x02, digits.length]
  return Buffer.concat([Buffer.from(head), digits])
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
  // As an object: of bytes Node would make one each time, which costs more than the hash.
  const key = createSecretKey(Buffer.from(jwk['k']!, 'base64url'))
  return (signed) => createHmac('sha256', key).update(signed, 'latin1').digest()
}

function asInput(jwk: Jwk): JsonWebKeyInput {
  return { key: { ...jwk }, format: 'jwk' }
}

function encoded(text: string): string {
  return Buffer.from(text).toString('base64url')
}
