// What `connectSessions` can be told, and what it refuses.
import type { Credentials } from '../credentials/credentials.ts'
import type { Schemas } from '../data.ts'
import { ConfigError } from '../errors.ts'
import { checkChoice, type Parts, type SessionsOptions } from '../options.ts'
import type { WhenStoreIsDown } from '../verification.ts'

type Shared =
  | 'cache'
  | 'data'
  | 'elapsed'
  | 'maxStaleness'
  | 'now'
  | 'onEvent'
  | 'roles'
  | 'transport'
  | 'trustedOrigins'
  | 'whenStale'

/** Options of `connectSessions`. Those of the same name mean what they mean to `createSessions`. */
export interface ConnectOptions<S extends Schemas> extends Pick<SessionsOptions<S>, Shared> {
  /** Of the session service, such as `https://sessions.internal:4000`. */
  readonly url: string
  /** Allow `http` beyond this machine, where the network keeps what passes secret: credentials do. Default false. */
  readonly allowHttp?: boolean | undefined
  /**
   * This service, as `holdfast clients add` named it. It needs the permissions `verify` and `feed`, and for what else it does
   * `start`, `read`, `write`, `end`, `assert` (`assertionFor`), `admin` (`setRoles`).
   */
  readonly clientId: string
  readonly clientSecret: string
  /** How long a call to the service may take, up to a tenth more. Default 500 ms. One that is made again may take twice as long. */
  readonly deadline?: SessionsOptions<S>['deadline']
  /** What is done with signed tokens while the service can't be asked. Default `refuse`. */
  readonly whenServiceIsDown?: WhenStoreIsDown | undefined
  /** Who issues signed tokens. Default: what the service says of itself (RFC 8414). */
  readonly issuer?: string | undefined
  /** For whom signed tokens must be. Default: the issuer. */
  readonly audience?: string | readonly string[] | undefined
  /** Default: the runtime's own. */
  readonly fetch?: typeof globalThis.fetch | undefined
}

/** What `connectSessions` puts in. */
export interface RemoteParts extends Pick<Parts, 'transport' | 'verifier'> {
  readonly opaque: Pick<Credentials, 'present'>
  /** Check access tokens, and what is asserted to `service`, by the keys at `jwksUrl`. */
  readonly signed: (o: {
    issuer: string
    audience: string | readonly string[]
    service: string
    jwksUrl: string
    fetch: typeof globalThis.fetch
  }) => readonly Pick<Credentials, 'present' | 'keysChanged'>[]
}

/** The URL without a slash at its end, and the `Authorization` of every call. Throws `ConfigError`, naming the option. */
export function checkConnection(
  o: Pick<ConnectOptions<Schemas>, 'url' | 'allowHttp' | 'clientId' | 'clientSecret' | 'whenServiceIsDown'>,
): {
  readonly url: string
  readonly authorization: string
} {
  if (!URL.canParse(o.url)) throw new ConfigError(`url: expected one such as https://sessions.internal, got '${o.url}'`)
  const url = new URL(o.url)
  // Its own words are left out from here on: it may hold a password.
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new ConfigError('url: without user, password, query and fragment; the client is clientId and clientSecret')
  const mayBeHttp = o.allowHttp === true || loopback.test(url.hostname)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && mayBeHttp)) {
    const got = `${url.protocol}//${url.hostname}`
    throw new ConfigError(
      `url: expected https, got '${got}'; in a network that keeps secrets, http with allowHttp: true`,
    )
  }
  if (typeof o.clientId !== 'string' || !/^[\x21-\x39\x3b-\x7e]{1,256}$/.test(o.clientId))
    throw new ConfigError(
      'clientId: expected the id of a client of the session service; holdfast clients list shows them',
    )
  if (typeof o.clientSecret !== 'string' || !/^[\x21-\x7e]{1,512}$/.test(o.clientSecret))
    throw new ConfigError('clientSecret: expected what holdfast clients add printed')
  checkChoice('whenServiceIsDown', o.whenServiceIsDown, ['refuse', 'trust-signed'])
  return {
    url: url.href.replace(/\/$/, ''),
    authorization: `Basic ${btoa(`${o.clientId}:${o.clientSecret}`)}`,
  }
}

/** As `URL` writes them. */
const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/
