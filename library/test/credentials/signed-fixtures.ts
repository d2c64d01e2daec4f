// What the tests of signed credentials share: a key of each algorithm, and tokens that nobody but a forger would make.
import { createHmac, createPrivateKey, generateKeyPairSync, randomBytes, sign, type JsonWebKey } from 'node:crypto'
import { type Algorithm, publicJwk, type Jwk } from '../../src/credentials/jwk.ts'
import { signingKey, type SigningKey, verifyingKey, type VerifyingKey } from '../../src/credentials/keys.ts'
import * as web from '../../src/credentials/signature.web.ts'

export const algorithms: readonly Algorithm[] = ['EdDSA', 'ES256', 'RS256', 'PS256', 'HS256']

const made: Record<Algorithm, JsonWebKey> = {
  EdDSA: generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }),
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  PS256: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  HS256: { kty: 'oct', k: randomBytes(32).toString('base64url') },
}

/** A key that signs; the same all through a run. */
export function privateKey(alg: Algorithm, kid = `${alg}-1`): Jwk {
  return { ...(made[alg] as Record<string, string>), kid, alg } as unknown as Jwk
}

/** What others verify with: the secret itself where there is only that. */
export function publicKey(alg: Algorithm, kid = `${alg}-1`): Jwk {
  return publicJwk(privateKey(alg, kid)) ?? privateKey(alg, kid)
}

export interface Runtime {
  readonly verifying: (jwk: Jwk) => VerifyingKey
  readonly signing: (jwk: Jwk) => SigningKey
}

/** Both implementations of `#signature`; on Node the first is the one in use. */
export const runtimes: Readonly<Record<'node' | 'web', Runtime>> = {
  node: { verifying: verifyingKey, signing: signingKey },
  web: {
    verifying: (jwk) => ({ kid: jwk.kid, alg: jwk.alg, verify: web.verifying(jwk) }),
    signing: (jwk) => {
      const { kid, alg } = jwk
      const sign = web.signing(jwk)
      return { kid, alg, verify: web.verifying(jwk), sign: (typ, payload) => sign({ alg, typ, kid }, payload) }
    },
  },
}

/** Signs anything at all, whatever it is, with the key of `alg`. */
export function forge(header: object | string, payload: object | string, alg: Algorithm = 'EdDSA'): string {
  const text = (part: object | string) => (typeof part === 'string' ? part : JSON.stringify(part))
  return forgeBytes(Buffer.from(text(header)), Buffer.from(text(payload)), alg)
}

export function forgeBytes(header: Uint8Array, payload: Uint8Array, alg: Algorithm): string {
  return forgeParts(Buffer.from(header).toString('base64url'), Buffer.from(payload).toString('base64url'), alg)
}

export function forgeParts(header: string, payload: string, alg: Algorithm): string {
  const signed = Buffer.from(`${header}.${payload}`)
  return `${header}.${payload}.${signature(signed, alg).toString('base64url')}`
}

function signature(signed: Buffer, alg: Algorithm): Buffer {
  const { k } = made[alg]
  if (k !== undefined) return createHmac('sha256', Buffer.from(k, 'base64url')).update(signed).digest()
  const key = createPrivateKey({ key: made[alg], format: 'jwk' })
  if (alg === 'EdDSA') return sign(null, signed, key)
  if (alg === 'PS256') return sign('sha256', signed, { key, padding: 6, saltLength: 32 })
  return sign('sha256', signed, { key, dsaEncoding: 'ieee-p1363' })
}

export function b64(text: string): string {
  return Buffer.from(text).toString('base64url')
}

export function random(bytes: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(bytes))
}
