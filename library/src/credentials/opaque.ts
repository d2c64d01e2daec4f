// Opaque credentials: `id.secret`, of which the store has the id and SHA-256 of the secret.
import { base64url, sha256 } from '#crypto'
import type { Credentials } from './credentials.ts'

const form = /^[\w-]{22}\.[\w-]{43}$/
const idForm = /^[\w-]{22}$/

/** 128 random bits of id, 256 of secret. A dump of the store opens nothing. */
export function opaqueCredentials(): Credentials {
  return {
    async issue(random) {
      const id = base64url(random(16))
      const secret = base64url(random(32))
      return { id, token: `${id}.${secret}`, kept: await sha256(secret) }
    },
    read(token) {
      return typeof token === 'string' && form.test(token) ? { id: token.slice(0, 22), secret: token.slice(23) } : null
    },
    isId: (text) => typeof text === 'string' && idForm.test(text),
    matches(claim, kept) {
      const hash = sha256(claim.secret)
      return typeof hash === 'string' ? equal(hash, kept) : hash.then((digest) => equal(digest, kept))
    },
  }
}

/** Looks at every character, so that time tells nothing of where two hashes differ. */
function equal(a: string, b: string): boolean {
  let difference = a.length ^ b.length
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
