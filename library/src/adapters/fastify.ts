// Sessions for Fastify 5.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { NodeExchange, type AnswerHeaders } from '../internal/exchange.node.ts'
import { guard } from '../internal/guard.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * `app.register(sessionPlugin(sessions))` puts the session of every request into its decorator `session`:
 * `request.getDecorator<SessionOf<typeof sessions>>('session')`, or `request.session` once the application has declared it:
 * `declare module 'fastify' { interface FastifyRequest { session: SessionOf<typeof sessions> } }`
 *
 * An error goes to Fastify's error handling, which reads its `statusCode` and `headers`: 503 with `Retry-After` when the store can't
 * answer, 403 for a cross-site request. A `reply.header('vary', …)` of your own takes the place of ours; no cache keeps such an answer anyway.
 */
export function sessionPlugin<Data>(sessions: Sessions<Data>): (app: FastifyInstance) => Promise<void> {
  const plugin = async (app: FastifyInstance) => {
    app.decorateRequest('session')
    app.addHook('onRequest', (request, reply, done) => {
      const exchange = new NodeExchange(request.raw, new ReplyHeaders(reply), () => request.ip)
      sessions.open(exchange).then((session) => {
        request.setDecorator('session', session)
        done()
      }, done)
    })
  }
  // As fastify-plugin does: for the application that registers it, not for an inner one of its own.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true })
}

/**
 * Lets through only whom `session.require(what)` lets through: `app.get('/orders', { preHandler: requires('orders:read') }, …)`. Whoever is not
 * signed in gets 401, who may not 403.
 */
export function requires(what: string | Requirement): (request: FastifyRequest) => Promise<void> {
  return async (request) => guard(request.getDecorator<Session<unknown> | null>('session'), what)
}

/** Fastify sends the headers of the reply in place of those of the response beneath it. */
class ReplyHeaders implements AnswerHeaders {
  readonly #reply: FastifyReply

  constructor(reply: FastifyReply) {
    this.#reply = reply
  }
  get headersSent(): boolean {
    // While a stream goes out the reply does not yet count as sent.
    return this.#reply.sent || this.#reply.raw.headersSent
  }
  getHeader(name: string): ReturnType<FastifyReply['getHeader']> {
    return this.#reply.getHeader(name)
  }
  setHeader(name: string, value: string | readonly string[]): void {
    // It adds cookies to those that are there.
    if (name === 'set-cookie') this.#reply.removeHeader(name)
    this.#reply.header(name, value)
  }
}
