// The middleware of Connect, which Express and NestJS take as well.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Exchange } from '../transport/transport.ts'
import { NodeExchange } from './exchange.node.ts'

export type ConnectMiddleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void

/** Puts the session that `open` gives into `request.session`. Express puts the client's address, as its proxy settings see it, into `ip`. */
export function connectMiddleware(open: (exchange: Exchange) => Promise<unknown>): ConnectMiddleware {
  return (request, response, next) => {
    const addressOf = () => (request as { ip?: string }).ip
    open(new NodeExchange(request, response, addressOf)).then((session) => {
      ;(request as { session?: unknown }).session = session
      next()
    }, next)
  }
}
