// Opaque credentials: `id.secret`, of which the store has the id and SHA-256 of the secret.
import { base64url, sha256 } from '#crypto'
import { owned } from '../internal/owned.ts'
import type { Credentials, Issued, Tokens } from './credentials.ts'
import { sameText } from './same-text.ts'

const form = /^[\w-]{22}\.[\w-]{43}$/
const keptForm = /^[\w-]{43}$/

/** 128 random bits of id, 256 of secret. A dump of the store opens nothing. */
export function opaqueCredentials(): Credentials {
  return {
    kind: 'opaque',
    refresh: null,
    reissue: null,
    keeps: (kept) => keptForm.test(kept),
    async issue(random) {
      const id = base64url(random(16))
      const secret = base64url(random(32))
      const given: Tokens = { token: `${id}.${secret}`, refreshToken: null, expiresInMs: null }
      return { id, kept: await sha256(secret), tokens: () => given } satisfies Issued & { id: string }
    },
    present(token) {
      return form.test(token) ? new Reference(token) : null
    },
  }
}

class Reference {
  readonly kind = 'reference'
  readonly #token: string

  constructor(token: string) {
    this.#token = token
  }
  get id(): string {
    // Records and caches keep it.
    return owned(this.#token.slice(0, 22))
  }
  matches(kept: string): boolean | Promise<boolean> {
    const hash = sha256(this.#token.slice(23))
    return typeof hash === 'string' ? sameText(hash, kept) : hash.then((digest) => sameText(digest, kept))
  }
}
