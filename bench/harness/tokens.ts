// Signed tokens: whoever verifies them, they are the ones that Holdfast issues, with a key of this process.
import {
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  randomBytes,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto'
import { createSessions } from 'holdfast'
import { staticKeys } from 'holdfast/credentials/keys'
import { signedCredentials } from 'holdfast/credentials/signed'
import { memoryStore } from 'holdfast/stores/memory'
import { amr, person, roles } from './person.ts'

export const issuer = 'https://accounts.shop.example'
export const audience = 'https://shop.example'

export const algorithms = ['EdDSA', 'ES256', 'RS256', 'PS256', 'HS256'] as const
export type Algorithm = (typeof algorithms)[number]

export type Jwk = JsonWebKey & { readonly alg: Algorithm; readonly kid: string }

/** A private key. Processes that share one pass it on. */
export function newJwk(alg: Algorithm): Jwk {
  return { ...newKey(alg).export({ format: 'jwk' }), alg, kid: 'bench-2026-11' }
}

/** Credentials with a key for `alg`, the key that checks them, and access tokens of the sessions of person `n`. */
export function signing(alg: Algorithm, jwk = newJwk(alg)) {
  const credentials = signedCredentials({ issuer, audience, keys: staticKeys({ keys: [jwk] }) })
  const sessions = createSessions({ store: memoryStore(), credentials })
  return {
    credentials,
    publicKey: alg === 'HS256' ? createSecretKey(jwk.k!, 'base64url') : createPublicKey({ key: jwk, format: 'jwk' }),
    async accessToken(n: number): Promise<string> {
      return (await sessions.start(person(n).userId, { roles, amr })).token
    },
  }
}

function newKey(alg: Algorithm): KeyObject {
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519').privateKey
  if (alg === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  if (alg === 'HS256') return createSecretKey(randomBytes(32))
  return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
}
