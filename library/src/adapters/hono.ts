// Sessions for Hono 4, on every runtime that it runs on.
import type { Context, MiddlewareHandler } from 'hono'
import { SessionError } from '../errors.ts'
import { FetchExchange } from '../internal/exchange.web.ts'
import { guard } from '../internal/guard.ts'
import { problem } from '../internal/problem.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/** What `c.var` and `c.get` know of: `new Hono<SessionEnv<typeof sessions>>()`. */
export interface SessionEnv<S> {
  Variables: { session: S extends Sessions<infer Data> ? Session<Data> : never }
}

/**
 * Puts the session into `c.var.session`. Errors of sessions, also those thrown further down, are answered as `application/problem+json`: 503 with
 * `Retry-After` when the store can't answer, 403 for a cross-site request. Any other one is Hono's `onError`'s. `address` tells the peer's
 * address, such as that of `getConnInfo(c)` of the runtime.
 */
export function sessionMiddleware<Data>(
  sessions: Sessions<Data>,
  { address }: { address?: (c: Context) => string | null } = {},
): MiddlewareHandler<SessionEnv<Sessions<Data>>> {
  return async (c, next) => {
    const exchange = new FetchExchange(c.req.raw, address?.(c) ?? null)
    let failure: unknown
    try {
      c.set('session', await sessions.open(exchange))
      await next()
      failure = c.error
    } catch (error) {
      if (!(error instanceof SessionError)) throw error
      failure = error
    }
    const response = exchange.complete(failure instanceof SessionError ? explained(failure) : c.res)
    if (response === c.res) return
    // Hono would merge the headers of the one before into it.
    c.res = undefined
    c.res = response
  }
}

/**
 * Lets through only whom `session.require(what)` lets through: `app.get('/orders', requires('orders:read'), …)`. Whoever is not signed in gets
 * 401, who may not 403. Goes after `sessionMiddleware`.
 */
export function requires(what: string | Requirement): MiddlewareHandler<{ Variables: { session: Session<unknown> } }> {
  return async (c, next) => {
    guard(c.var.session, what)
    await next()
  }
}

function explained(error: SessionError): Response {
  const { status, headers, body } = problem(error)
  return new Response(body, { status, headers })
}
