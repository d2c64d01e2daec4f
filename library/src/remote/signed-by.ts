// Signed tokens of the session service, checked here: who issues them it says itself (RFC 8414), when the first one comes.
import type { Credentials } from '../credentials/credentials.ts'
import { ServiceError } from '../errors.ts'
import { presentTo } from '../verification.ts'
import type { Http } from './http.ts'
import type { RemoteParts } from './options.ts'

export interface SignedByOptions {
  /** Of the service: keys come from there too, whatever it calls itself. */
  readonly url: string
  readonly http: Http
  /** Default: as the service says. */
  readonly issuer: string | undefined
  /** Default: the issuer. */
  readonly audience: string | readonly string[] | undefined
  /** The name of this client in a chain of calls. */
  readonly service: string
  readonly fetch: typeof globalThis.fetch
  readonly deadlineMs: number
  readonly make: RemoteParts['signed']
}

type Checking = ReturnType<RemoteParts['signed']>

export function signedBy(o: SignedByOptions): Pick<Credentials, 'present' | 'keysChanged'> {
  const { url, http, issuer, audience, service, fetch, deadlineMs, make } = o
  let checking: Checking | null = issuer === undefined ? null : of(issuer)
  let asking: Promise<Checking | null> | null = null

  function of(name: string): Checking {
    return make({
      issuer: name,
      audience: audience ?? name,
      service,
      jwksUrl: `${url}/.well-known/jwks.json`,
      // A request may wait for them. They are asked for so rarely that a timer of their own costs nothing.
      fetch: (input, init) => fetch(input, { ...init, signal: AbortSignal.timeout(deadlineMs) }),
    })
  }

  /** `null`: the service has no signed tokens. */
  async function ask(): Promise<Checking | null> {
    const { status, code, body } = await http.call({
      method: 'GET',
      path: '/.well-known/oauth-authorization-server',
      repeatable: true,
      accepts: ['not-found'],
    })
    if (code === 'not-found') return null
    const { issuer: said } = (body ?? {}) as { issuer?: unknown }
    if (typeof said !== 'string')
      throw new ServiceError('the service does not say who issues its tokens', { status, code })
    return (checking = of(said))
  }

  return {
    present(token, now) {
      if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return null
      if (checking !== null) return presentTo(checking, token, now)
      asking ??= ask().finally(() => (asking = null))
      return asking.then((found) => presentTo(found ?? [], token, now))
    },
    async keysChanged() {
      await Promise.all((checking ?? []).map(async (kind) => kind.keysChanged?.()))
    },
  }
}
