// Sessions for Koa 3.
import type { Middleware } from 'koa'
import { NodeExchange } from '../internal/exchange.node.ts'
import { guard } from '../internal/guard.ts'
import { problem } from '../internal/problem.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * Puts the session into `ctx.state.session`, typed where the application is: `new Koa<{ session: SessionOf<typeof sessions> }>()`.
 *
 * Errors of sessions, also those thrown further down, are answered as `application/problem+json`: 503 with `Retry-After` when the store
 * can't answer, 403 for a cross-site request. Any other one is thrown on, with the cookies
 * that have to arrive in its `headers`.
 */
export function sessionMiddleware<Data>(sessions: Sessions<Data>): Middleware<{ session: Session<Data> }> {
  return async (ctx, next) => {
    try {
      ctx.state.session = await sessions.open(new NodeExchange(ctx.req, ctx.res, () => ctx.ip))
      await next()
    } catch (error) {
      // Koa's own handling takes away the headers that were set before the error, but for those that the error has.
      const { status, headers, body } = problem(error)
      if (status === 500) {
        const { 'set-cookie': cookies, 'cache-control': caching } = ctx.response.headers
        const kept = { ...(caching && { 'cache-control': caching }), ...(cookies && { 'set-cookie': cookies }) }
        const own = error as { headers?: object }
        own.headers = { ...own.headers, ...kept }
        throw error
      }
      ctx.status = status
      ctx.set(headers)
      ctx.body = body
    }
  }
}

/**
 * Lets through only whom `session.require(what)` lets through: `router.get('/orders', requires('orders:read'), …)`. Whoever is not signed in
 * gets 401, who may not 403. Goes after `sessionMiddleware`.
 */
export function requires(what: string | Requirement): Middleware<{ session: Session<unknown> }> {
  return (ctx, next) => {
    guard(ctx.state.session, what)
    return next()
  }
}
