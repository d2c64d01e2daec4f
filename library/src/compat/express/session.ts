// `req.session` and its cookie, as applications know them from express-session.
import { ConfigError } from '../../errors.ts'

/** Called with an error, or with nothing. */
export type Done = (error?: unknown) => void

/** What a session asks of whatever keeps it. */
export interface Keeper {
  get(id: string, done: (error: unknown, kept?: object | null) => void): void
  set(id: string, session: RequestSession, done?: Done): void
  destroy(id: string, done?: Done): void
  regenerate(request: Keeping, done: Done): void
  createSession(request: Keeping, kept: object): RequestSession
}

/** A request, by what is used of it. */
export interface Keeping {
  sessionID: string
  session?: RequestSession | null
  sessionStore: Keeper
}

export class RequestSession {
  declare readonly req: Keeping
  declare readonly id: string
  declare cookie: SessionCookie

  constructor(request: Keeping, kept: object = {}) {
    Object.defineProperty(this, 'req', { value: request })
    Object.defineProperty(this, 'id', { value: request.sessionID, configurable: true })
    for (const [key, value] of Object.entries(kept)) if (!(key in this)) Object.assign(this, { [key]: value })
  }

  touch(): this {
    return this.resetMaxAge()
  }
  resetMaxAge(): this {
    this.cookie.maxAge = this.cookie.originalMaxAge
    return this
  }
  save(done?: Done): this {
    this.req.sessionStore.set(this.id, this, done)
    return this
  }
  reload(done: Done): this {
    const { req } = this
    req.sessionStore.get(this.id, (error, kept) => {
      if (error) return done(error)
      if (!kept) return done(new Error('failed to load session'))
      req.sessionStore.createSession(req, kept)
      done()
    })
    return this
  }
  destroy(done?: Done): this {
    delete this.req.session
    this.req.sessionStore.destroy(this.id, done)
    return this
  }
  regenerate(done: Done): this {
    this.req.sessionStore.regenerate(this.req, done)
    return this
  }
}

/** What express-session lets applications say of the cookie. */
export interface CookieSettings {
  maxAge?: number | null | false | undefined
  expires?: Date | null | false | undefined
  path?: string | undefined
  domain?: string | undefined
  httpOnly?: boolean | undefined
  secure?: boolean | 'auto' | undefined
  sameSite?: boolean | 'lax' | 'strict' | 'none' | 'auto' | undefined
  partitioned?: boolean | undefined
  priority?: 'low' | 'medium' | 'high' | undefined
  originalMaxAge?: number | null | false | undefined
}

const settable = [
  'expires',
  'maxAge',
  'path',
  'domain',
  'httpOnly',
  'secure',
  'sameSite',
  'partitioned',
  'priority',
] as const

export class SessionCookie {
  path = '/'
  httpOnly = true
  originalMaxAge: number | null | false = null
  declare domain: string | undefined
  declare secure: boolean | undefined
  declare sameSite: CookieSettings['sameSite']
  declare partitioned: boolean | undefined
  declare priority: CookieSettings['priority']
  #expires: Date | null | false = null

  constructor(settings: CookieSettings = {}) {
    // What else an application wrote there is none of ours.
    for (const name of settable) if (name in settings) Object.assign(this, { [name]: settings[name] })
    const { originalMaxAge } = settings
    if (originalMaxAge !== undefined) this.originalMaxAge = originalMaxAge
  }

  /** `null`, and `false` as many applications write it: as long as the browser. */
  get expires(): Date | null | false {
    return this.#expires
  }
  set expires(at: Date | null | false | undefined) {
    this.#expires = at ?? null
    this.originalMaxAge = this.maxAge
  }

  /** Milliseconds from now. */
  get maxAge(): number | null | false {
    return this.#expires instanceof Date ? this.#expires.valueOf() - Date.now() : this.#expires
  }
  set maxAge(ms: number | null | false | undefined) {
    if (ms && typeof ms !== 'number') throw new TypeError('maxAge: expected milliseconds')
    this.expires = typeof ms === 'number' ? new Date(Date.now() + ms) : ms
  }

  /** What is stored of it, in the words and the order of express-session. */
  get data() {
    const { originalMaxAge, partitioned, priority, expires, secure, httpOnly, domain, path, sameSite } = this
    return { originalMaxAge, partitioned, priority, expires, secure, httpOnly, domain, path, sameSite }
  }
  toJSON(): object {
    return this.data
  }
}

/** The cookie as it was stored. */
export function storedCookie(kept: object): SessionCookie {
  const stored = (kept as { cookie?: CookieSettings & { expires?: Date | string | null | false } }).cookie ?? {}
  const { expires, ...settings } = stored
  return new SessionCookie({ expires: typeof expires === 'string' ? new Date(expires) : expires, ...settings })
}

/** Throws `ConfigError` where an attribute would be several. */
export function checkCookie({ domain, path, sameSite, priority }: CookieSettings): void {
  const words: readonly [string, unknown, RegExp][] = [
    ['domain', domain, /^\.?[a-z\d]([a-z\d.-]{0,251}[a-z\d])?$/i],
    ['path', path, /^[\x20-\x3a\x3c-\x7e]*$/],
    ['sameSite', sameSite, /^(lax|strict|none|auto|true|false)$/i],
    ['priority', priority, /^(low|medium|high)$/i],
  ]
  for (const [name, value, form] of words) {
    // Nothing of it is repeated: it may be what a client sent.
    if (value && !form.test(String(value))) throw new ConfigError(`cookie.${name}: can't be written into a cookie`)
  }
}

/** A `Set-Cookie` line. Scripts never see the cookie, and over HTTPS it stays there, whatever the application says. */
export function setCookieLine(name: string, token: string, cookie: SessionCookie, isSecure: boolean): string {
  checkCookie(cookie)
  const { domain, path, expires, partitioned, priority, sameSite } = cookie
  const secure = cookie.secure === true || isSecure
  const site = typeof sameSite === 'string' ? sameSite : sameSite === true ? 'strict' : 'lax'
  return [
    `${name}=${token}`,
    domain && `Domain=${domain}`,
    path && `Path=${path}`,
    expires instanceof Date && `Expires=${expires.toUTCString()}`,
    'HttpOnly',
    secure && 'Secure',
    partitioned && 'Partitioned',
    priority && `Priority=${capitalized(priority)}`,
    `SameSite=${capitalized(site)}`,
  ]
    .filter(Boolean)
    .join('; ')
}

function capitalized(word: string): string {
  return word[0]!.toUpperCase() + word.slice(1)
}
