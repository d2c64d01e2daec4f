// Sessions for Express 5, and for Connect.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { NodeExchange } from '../internal/exchange.node.ts'
import { guard } from '../internal/guard.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

type Middleware = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void

/**
 * Puts the session into `req.session`. Type it once, in the application:
 * `declare global { namespace Express { interface Request { session: SessionOf<typeof sessions> } } }`
 *
 * An error goes to Express's error handling, which reads its `statusCode` and `headers`: 503 with `Retry-After` when the
 * store can't answer, 403 for a cross-site request.
 */
export function sessionMiddleware<Data>(sessions: Sessions<Data>): Middleware {
  return (request, response, next) => {
    // Express puts the client's address, as its own proxy settings see it, into `ip`.
    const addressOf = () => (request as { ip?: string }).ip
    sessions.open(new NodeExchange(request, response, addressOf)).then((session) => {
      ;(request as { session?: unknown }).session = session
      next()
    }, next)
  }
}

/**
 * Lets through only whom `session.require(what)` lets through: `app.get('/orders', requires('orders:read'), …)`. Whoever is not signed in gets
 * 401, who may not 403. Goes after `sessionMiddleware`.
 */
export function requires(what: string | Requirement): Middleware {
  return (request, _response, next) => {
    guard((request as { session?: Session<unknown> }).session, what)
    next()
  }
}
