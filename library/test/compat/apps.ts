// The same application on express-session and on what takes its place, and browsers that visit it.
import express, { type Express } from 'express'
import session, { type SessionOptions } from 'express-session'
import { session as holdfastSession, type ExpressSessionOptions } from 'holdfast/compat/express-session'
import { memoryStore } from 'holdfast/stores/memory'
import { listen } from '../adapters/servers.ts'

declare module 'express-session' {
  interface SessionData {
    views?: number
    cart?: Record<string, unknown>
    user?: string
    passport?: { user?: unknown }
    [key: string]: unknown
  }
}

export const secret = 'keyboard cat'

export interface Seen {
  readonly status: number
  readonly body: string
  /** The attributes of the session's cookie, if it was set. */
  readonly cookie: string | null
}

export interface Browser {
  get(path: string, headers?: Record<string, string>): Promise<Seen>
  /** The value of the session's cookie. */
  cookie: string | null
  /** One with the same cookie, such as another tab whose request is under way. */
  copy(): Browser
}

export interface Running {
  readonly url: string
  browser(): Browser
  close(): Promise<void>
}

/** With express-session and its store in memory. */
export function there(build: (app: Express) => void, o: Partial<SessionOptions> = {}): Promise<Running> {
  return run(build, session({ secret, resave: false, saveUninitialized: false, ...o }))
}

/** With ours in its place, on `memoryStore()` unless `o` says otherwise. */
export function here(build: (app: Express) => void, o: Partial<ExpressSessionOptions> = {}): Promise<Running> {
  return run(build, holdfastSession({ store: memoryStore(), secret, resave: false, saveUninitialized: false, ...o }))
}

export async function run(build: (app: Express) => void, middleware: express.RequestHandler): Promise<Running> {
  const app = express().set('env', 'test')
  app.use(middleware)
  build(app)
  const answerErrors: express.ErrorRequestHandler = (error, _req, res, next) => {
    if (res.headersSent) return next(error)
    res.status(error.statusCode ?? 500).send(`failed: ${error.code ?? error.message}`)
  }
  app.use(answerErrors)
  const { url, close } = await listen(app)
  return { url, close, browser: () => browser(url) }
}

function browser(url: string, cookie: string | null = null): Browser {
  const self: Browser = {
    cookie,
    copy: () => browser(url, self.cookie),
    async get(path, headers = {}) {
      const sent = self.cookie === null ? {} : { cookie: `connect.sid=${self.cookie}` }
      const response = await fetch(url + path, { headers: { ...sent, ...headers }, redirect: 'manual' })
      const body = await response.text()
      const line = response.headers.getSetCookie().find((one) => one.startsWith('connect.sid='))
      if (line === undefined) return { status: response.status, body, cookie: null }
      const [pair, ...attributes] = line.split('; ')
      self.cookie = pair!.slice('connect.sid='.length)
      return { status: response.status, body, cookie: attributes.join('; ') }
    },
  }
  return self
}
