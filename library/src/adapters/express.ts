// Sessions for Express 5, and for Connect.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { NodeExchange } from '../internal/exchange.node.ts'
import type { Sessions } from '../sessions.ts'

/**
 * Puts the session into `req.session`. Type it once, in the application:
 * `declare global { namespace Express { interface Request { session: SessionOf<typeof sessions> } } }`
 *
 * An error goes to Express's error handling, which reads its `statusCode` and `headers`: 503 with `Retry-After` when the
 * store can't answer, 403 for a cross-site request.
 */
export function sessionMiddleware<Data>(
  sessions: Sessions<Data>,
): (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void {
  return (request, response, next) => {
    sessions.open(new NodeExchange(request, response)).then((session) => {
      Object.assign(request, { session })
      next()
    }, next)
  }
}
