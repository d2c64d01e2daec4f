// Sessions for WebSockets by ws 8: the session at the upgrade, and a socket that closes when it is over.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { WebSocket, WebSocketServer } from 'ws'
import { problem } from '../internal/problem.ts'
import { admitted, closeCodes, closingMs } from '../internal/upgrade.node.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * A listener for `upgrade`: `httpServer.on('upgrade', sessionUpgrade(sessions, server, (socket, session) => …))`, where `server` is
 * `new WebSocketServer({ noServer: true })`. Without the session that `requires` asks for the upgrade is answered with 401 or 403; from
 * another site, by the same rule as for requests that change something, with 403; while the store can't answer, with 503.
 *
 * The socket is closed within `maxStaleness`, as `Sessions.watch` says (an outage closes none), with code 4401 when the session ended or
 * expired, and with 4409 when its identity changed, such as its roles: connect again. Nothing that arrives after that is heard. Traffic on the
 * socket does not extend the session; requests do.
 */
export function sessionUpgrade<Data>(
  sessions: Sessions<Data>,
  server: WebSocketServer,
  accept: (socket: WebSocket, session: Session<Data>, request: IncomingMessage) => void,
  o: { requires?: string | Requirement } = {},
): (request: IncomingMessage, socket: Duplex, head: Buffer) => void {
  return (request, stream, head) => {
    // Until ws has it, nobody else listens.
    stream.on('error', () => stream.destroy())
    admitted(sessions, request, o).then(
      (session) =>
        server.handleUpgrade(request, stream, head, (socket) => {
          socket.on(
            'close',
            sessions.watch(session, (why) => close(socket, why)),
          )
          accept(socket, session, request)
        }),
      (error: unknown) => refuse(stream, error),
    )
  }
}

function close(socket: WebSocket, why: 'ended' | 'changed'): void {
  socket.removeAllListeners('message')
  socket.close(closeCodes[why], `session ${why}`)
  setTimeout(() => socket.terminate(), closingMs).unref()
}

function refuse(stream: Duplex, error: unknown): void {
  const { status, headers, body } = problem(error)
  const lines = Object.entries({ ...headers, connection: 'close', 'content-length': Buffer.byteLength(body) })
  stream.end(
    `HTTP/1.1 ${status} Refused\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`,
  )
}
