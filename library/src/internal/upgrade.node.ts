// The request with which a socket is opened, as an exchange: there is no answer into which a credential could go.
import type { IncomingMessage } from 'node:http'
import type { Exchange } from '../transport/transport.ts'
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

/** The session of whoever connects. Rejects when it can't be known, and when it is not what is required. */
export async function admitted<What, Session extends { require(what: What): void }>(
  sessions: { open(from: Exchange): Promise<Session> },
  request: IncomingMessage,
  { requires }: { requires?: What },
): Promise<Session> {
  const session = await sessions.open(new UpgradeExchange(request))
  if (requires !== undefined) session.require(requires)
  return session
}
