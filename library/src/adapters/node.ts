// Sessions for node:http, and for every framework that shows its request and response.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { NodeExchange } from '../internal/exchange.node.ts'
import { problem } from '../internal/problem.ts'
import type { Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * Opens the session of a request. Rejects with `StoreUnavailableError` (503) or `CrossSiteError` (403), whose `statusCode`
 * and `headers` say how to answer.
 */
export function sessionOpener<Data>(
  sessions: Sessions<Data>,
): (request: IncomingMessage, response: ServerResponse) => Promise<Session<Data>> {
  return (request, response) => sessions.open(new NodeExchange(request, response))
}

/** A listener for `createServer`. Errors of sessions are answered as `application/problem+json`, any other one as a bare 500. */
export function sessionHandler<Data>(
  sessions: Sessions<Data>,
  handler: (request: IncomingMessage, response: ServerResponse, session: Session<Data>) => void | Promise<void>,
): (request: IncomingMessage, response: ServerResponse) => void {
  const open = sessionOpener(sessions)
  return (request, response) => {
    open(request, response)
      .then((session) => handler(request, response, session))
      .catch((error: unknown) => answer(response, error))
  }
}

function answer(response: ServerResponse, error: unknown): void {
  const { status, headers, body } = problem(error)
  if (status === 500) console.error('holdfast: a handler failed', error)
  if (response.headersSent) response.destroy()
  else response.writeHead(status, headers).end(body)
}
