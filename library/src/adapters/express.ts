// Sessions for Express 5, and for Connect.
import { connectMiddleware, type ConnectMiddleware } from '../internal/connect.node.ts'
import { guard } from '../internal/guard.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * Puts the session into `req.session`. Type it once, in the application:
 * `declare global { namespace Express { interface Request { session: SessionOf<typeof sessions> } } }`
 *
 * An error goes to Express's error handling, which reads its `statusCode` and `headers`: 503 with `Retry-After` when the
 * store can't answer, 403 for a cross-site request.
 */
export function sessionMiddleware<Data>(sessions: Sessions<Data>): ConnectMiddleware {
  return connectMiddleware((exchange) => sessions.open(exchange))
}

/**
 * Lets through only whom `session.require(what)` lets through: `app.get('/orders', requires('orders:read'), …)`. Whoever is not signed in gets
 * 401, who may not 403. Goes after `sessionMiddleware`.
 */
export function requires(what: string | Requirement): ConnectMiddleware {
  return (request, _response, next) => {
    guard((request as { session?: Session<unknown> }).session, what)
    next()
  }
}
