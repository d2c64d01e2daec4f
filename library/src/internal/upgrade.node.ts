// The request with which a socket is opened, as an exchange: there is no answer into which a credential could go.
import type { IncomingMessage } from 'node:http'
import { NodeExchange } from './exchange.node.ts'

/** For the session of a socket that is over: of the codes that are the application's own (RFC 6455, section 7.4.2). */
export const closeCodes = {
  /** Sign in again. */
  ended: 4401,
  /** Connect again: the session has other roles, say, than the socket knows of. */
  changed: 4409,
} as const

/** How long a peer may take to answer a close before the connection is cut. */
export const closingMs = 1_000

const noHeaders = { headersSent: true, getHeader: () => undefined, setHeader: () => undefined as never }

export class UpgradeExchange extends NodeExchange {
  constructor(request: IncomingMessage) {
    super(request, noHeaders)
  }

  /**
   * A browser opens sockets to anywhere, with the cookies of there, by a GET. What the site may do over it is no mere look, so the
   * origin is judged as that of a request that changes something.
   */
  override get method(): string {
    return 'CONNECT'
  }
}
