// In place of express-session: the same options and the same `req.session`, on a Holdfast store.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CookieOptions, SessionData } from 'express-session'
import { ConfigError } from '../errors.ts'
import {
  cookieTransport,
  createSessions,
  type Limits,
  type Sessions,
  type SessionsOptions,
  type Store,
} from '../index.ts'
import { milliseconds } from '../internal/duration.ts'
import {
  plannedCredentials,
  RequestKeeper,
  tokenOf,
  type AllSections,
  type KeptRequest,
} from './express/request-keeper.ts'
import { signedId, type Secret } from './express/old-cookie.ts'
import { endingByCookie } from './express/own-end.ts'
import { onEnding } from './express/response.ts'
import { defaultLifetime, passportUser } from './express/section.ts'
import { checkCookie, setCookieLine, type CookieSettings, type RequestSession } from './express/session.ts'

/** Options of express-session, and those of `createSessions` that make sense beside them. */
export interface ExpressSessionOptions extends Pick<
  SessionsOptions<Readonly<Record<string, never>>>,
  'feed' | 'limit' | 'maxDataBytes' | 'maxStaleness' | 'deadline' | 'onEvent'
> {
  /** Where the sessions are: `redisStore(client)`, `postgresStore(pool)` … */
  readonly store: Store
  /**
   * Those by which express-session signed its cookies, so that nobody is signed out: their sessions come over by `holdfast import`, or by
   * `asExpressStore`, and are opened by those cookies, correctly signed, until they end. New sessions need none. Default: old cookies are
   * not accepted.
   */
  readonly secret?: Secret | readonly Secret[] | undefined
  /** Default `connect.sid`. */
  readonly name?: string | undefined
  /**
   * As there, but for: `httpOnly: false` is refused; over HTTPS the cookie is always `Secure`; `sameSite` is `lax` unless it says otherwise.
   * `maxAge` is how long a session may stay unused, in ms; at most `lifetime.absolute`.
   */
  readonly cookie?: CookieOptions | ((request: never) => CookieOptions) | undefined
  /** How long a session without a `maxAge` may stay unused, and when every one ends. Default 1 day and 30 days. */
  readonly lifetime?: Limits | undefined
  /** Whose session it is; `null` for nobody's. Default: the user of Passport (`passport.user`, or its `id`). */
  readonly userOf?: ((session: Partial<SessionData>) => string | null) | undefined
  /** Begin a session for every visitor. Default true, as there. */
  readonly saveUninitialized?: boolean | undefined
  /** Send the cookie with each response, so that it lives `maxAge` from then. Default false. */
  readonly rolling?: boolean | undefined
  /** Believe `X-Forwarded-Proto`. Default: as Express's `trust proxy` says. */
  readonly proxy?: boolean | undefined
  /** `destroy` ends the session when `req.session` is set to `null` or deleted. Default `keep`. */
  readonly unset?: 'destroy' | 'keep' | undefined
  /** Ignored: what a request did not change is never written, since that undoes what others changed. */
  readonly resave?: boolean | undefined
  /** Refused: ids have 128 random bits. */
  readonly genid?: never
}

type Middleware = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void

/** `req.session` for Express and Connect. */
export interface ExpressSessionMiddleware extends Middleware {
  /** All the sessions, to end them anywhere: `sessions.endUser(id)`, `sessions.list(id)`. `req.sessionID` is the id. */
  readonly sessions: Sessions<AllSections>
}

/**
 * Middleware that takes the place of express-session's. What changed in `req.session` is stored when the response ends, key by key: of
 * requests at the same time each keeps what it changed, and for the same key the last one counts. A session that ended stays ended:
 * a request that is too late gets `SessionGoneError` (401).
 *
 * A change that can't be stored is never answered as if it had been: unless the response had begun, it is the error (503 while the
 * store is down) that goes to `next`. When the user changes, the session gets a new id, and the old one is dead.
 *
 * Throws `ConfigError`, naming the option.
 */
export function session(o: ExpressSessionOptions): ExpressSessionMiddleware {
  check(o)
  const { store, name = 'connect.sid', cookie = {}, lifetime = defaultLifetime, saveUninitialized = true } = o
  const secrets = o.secret === undefined ? [] : ([o.secret].flat() as Secret[])
  const { extract } = cookieTransport({ name })
  const [idleMs, absoluteMs] = [
    milliseconds('lifetime.idle', lifetime.idle),
    milliseconds('lifetime.absolute', lifetime.absolute),
  ]
  const { feed, limit, maxDataBytes, maxStaleness, deadline, onEvent } = o
  const sessions = createSessions({
    feed,
    limit,
    maxDataBytes,
    maxStaleness,
    deadline,
    onEvent,
    store: endingByCookie(store, idleMs, absoluteMs),
    lifetime: { idle: lifetime.absolute, absolute: lifetime.absolute },
    credentials: plannedCredentials(),
  }) as Sessions<AllSections>

  const settingsOf = (request: IncomingMessage): CookieSettings =>
    typeof cookie === 'function' ? cookie(request as never) : cookie

  const context = {
    sessions,
    idleMs,
    userOf: (o.userOf ?? passportUser) as (session: object) => string | null,
    cookieOf(request: KeptRequest) {
      const { secure, sameSite, ...settings } = settingsOf(request)
      const isHttps = isSecure(request, o.proxy)
      return {
        ...settings,
        secure: secure === 'auto' ? isHttps : secure,
        sameSite: sameSite === 'auto' ? (isHttps ? 'none' : 'lax') : sameSite,
      } as const
    },
  }

  function cameWith(request: IncomingMessage): { token: string; value: string } | null {
    const value = extract((header) => (header === 'cookie' ? (request.headers.cookie ?? null) : null))
    if (typeof value !== 'string') return null
    if (!/^s(:|%3A)/i.test(value)) return { token: value, value }
    const signed = decoded(value)
    const sid = signedId(signed, secrets)
    return sid === null ? null : { token: tokenOf(sid), value: encodeURIComponent(signed) }
  }

  function serve(incoming: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void): void {
    const request = incoming as KeptRequest
    if (request.session) return next()
    const { path = '/' } = settingsOf(request)
    if (!pathOf(request).startsWith(path)) return next()

    const keeper = new RequestKeeper(context, request, response)
    const came = cameWith(request)
    let [cameId, isTouched, isFailed] = ['', false, false]
    request.sessionStore = keeper

    function touch(current: RequestSession): void {
      // Not by its method: a key of the application's may have taken its place.
      const { cookie } = current
      if (!isTouched) cookie.maxAge = cookie.originalMaxAge
      isTouched = true
    }

    function isCookieDue(current: RequestSession): boolean {
      return cameId === request.sessionID
        ? o.rolling === true || (current.cookie.expires !== null && keeper.isModified(current))
        : saveUninitialized || isFailed || keeper.isModified(current)
    }

    onEnding(response, {
      headers() {
        const current = request.session
        if (!current || (isFailed && !keeper.isStored)) return
        const isHttps = isSecure(request, o.proxy)
        const isSent = isCookieDue(current) && (current.cookie.secure !== true || isHttps)
        if (isSent) {
          touch(current)
          response.appendHeader('set-cookie', setCookieLine(name, keeper.cookieValue, current.cookie, isHttps))
          keeper.handedOut = keeper.token
        }
        if ((isSent || keeper.isStored) && !response.hasHeader('cache-control'))
          response.setHeader('cache-control', 'no-store')
      },
      end() {
        const current = request.session
        if (!current) return o.unset === 'destroy' && keeper.isStored ? keeper.end(request.sessionID) : keeper.underWay
        touch(current)
        return keeper.finish(current, saveUninitialized || keeper.isModified(current))
      },
      failed(error) {
        isFailed = true
        next(error)
      },
    })

    if (came === null) {
      keeper.begin()
      return next()
    }
    keeper.open(came.token, came.value).then(() => {
      if (keeper.isStored) cameId = request.sessionID
      next()
    }, next)
  }

  return Object.assign(serve, { sessions })
}

/**
 * As applications of express-session import it: `import session from 'holdfast/compat/express-session'`.
 * @alias session
 */
export default session
// What `require` gives to applications in CommonJS.
export { session as 'module.exports' }

function check(o: ExpressSessionOptions): void {
  const { store, cookie, lifetime = defaultLifetime, unset } = o ?? {}
  if (typeof store?.put !== 'function') {
    throw new ConfigError(
      typeof (store as { set?: unknown } | undefined)?.set === 'function'
        ? 'store: this is one of express-session, which overwrites what others changed; give a Holdfast store, such as redisStore(client), and `holdfast import` brings its sessions over'
        : 'store: required, such as redisStore(client)',
    )
  }
  if (o.genid !== undefined) throw new ConfigError('genid: ids are made here, of 128 random bits; leave it out')
  if (unset !== undefined && unset !== 'destroy' && unset !== 'keep')
    throw new ConfigError("unset: expected 'destroy' or 'keep'")
  if (Array.isArray(o.secret) && o.secret.length === 0) throw new ConfigError('secret: expected at least one')
  if (cookie === undefined || typeof cookie === 'function') return
  checkCookie(cookie)
  if (cookie.httpOnly === false)
    throw new ConfigError('cookie.httpOnly: scripts that see the cookie can give the session away; leave it out')
  const absolute = milliseconds('lifetime.absolute', lifetime.absolute)
  if (typeof cookie.maxAge === 'number' && cookie.maxAge > absolute) {
    throw new ConfigError(
      `cookie.maxAge: longer than lifetime.absolute (${lifetime.absolute}), when every session ends; set lifetime as well`,
    )
  }
}

/** What the cookie may be seen at, whatever a router before us took off the URL. */
function pathOf(request: IncomingMessage & { originalUrl?: string }): string {
  return (request.originalUrl ?? request.url ?? '/').split('?', 1)[0]!
}

function isSecure(request: IncomingMessage & { secure?: boolean }, trustProxy: boolean | undefined): boolean {
  if ((request.socket as { encrypted?: boolean }).encrypted === true) return true
  if (trustProxy === false) return false
  if (trustProxy !== true) return request.secure === true
  const forwarded = String(request.headers['x-forwarded-proto'] ?? '')
  return forwarded.split(',', 1)[0]!.trim().toLowerCase() === 'https'
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}
