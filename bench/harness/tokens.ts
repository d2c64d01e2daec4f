// Signed tokens: whoever verifies them, they are the ones that Holdfast issues, with a key of this process.
import { createSecretKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { createSessions } from 'holdfast'
import { staticKeys } from 'holdfast/credentials/keys'
import { signedCredentials } from 'holdfast/credentials/signed'
import { memoryStore } from 'holdfast/stores/memory'
import { amr, person, roles } from './person.ts'

export const issuer = 'https://accounts.shop.example'
export const audience = 'https://shop.example'

export const algorithms = ['EdDSA', 'ES256', 'RS256', 'PS256', 'HS256'] as const
export type Algorithm = (typeof algorithms)[number]

/** Credentials with a new key for `alg`, the key that checks them, and access tokens of the sessions of person `n`. */
export function signing(alg: Algorithm) {
  const { privateKey, publicKey } = newKey(alg)
  const key = { ...privateKey.export({ format: 'jwk' }), alg, kid: 'bench-2026-11' }
  const credentials = signedCredentials({ issuer, audience, keys: staticKeys({ keys: [key] }) })
  const sessions = createSessions({ store: memoryStore(), credentials })
  return {
    credentials,
    publicKey,
    async accessToken(n: number): Promise<string> {
      return (await sessions.start(person(n).userId, { roles, amr })).token
    },
  }
}

function newKey(alg: Algorithm): { privateKey: KeyObject; publicKey: KeyObject } {
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519')
  if (alg === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  if (alg !== 'HS256') return generateKeyPairSync('rsa', { modulusLength: 2048 })
  const secret = createSecretKey(randomBytes(32))
  return { privateKey: secret, publicKey: secret }
}
