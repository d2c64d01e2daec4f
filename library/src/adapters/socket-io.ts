// Sessions for Socket.IO 4: the session at the connection, and a socket that is disconnected when it is over.
import type { Socket } from 'socket.io'
import { ConfigError } from '../errors.ts'
import { problem } from '../internal/problem.ts'
import { admitted, closeCodes } from '../internal/upgrade.node.ts'
import type { Requirement } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * `io.use(sessionMiddleware(sessions))` puts the session into `socket.data.session`, typed where the server is:
 * `new Server<…, …, …, { session: SessionOf<typeof sessions> }>()`. The client hears `connect_error`, whose `data` is a problem of RFC 9457
 * with its `status`: 401 or 403 without the session that `requires` asks for, 403 from another site (by the same rule as for requests that
 * change something), 503 while the store can't answer.
 *
 * Within `maxStaleness` of its end, as `Sessions.watch` says (an outage closes no socket), the client gets the event `session-over` with
 * `{ code: 4401 }`, or 4409 when the identity changed, such as the roles: connect again; then it is disconnected. Traffic on the socket does not
 * extend the session; requests do.
 *
 * With `connectionStateRecovery` every socket is refused (`ConfigError`): Socket.IO gives a recovered one its rooms and messages back
 * before anybody could ask whether its session is still alive.
 */
export function sessionMiddleware<Data>(
  sessions: Sessions<Data>,
  o: { requires?: string | Requirement } = {},
): (socket: Socket, next: (error?: Error) => void) => void {
  return (socket, next) => {
    if (socket.nsp.server['opts'].connectionStateRecovery) return next(recovery)
    admitted(sessions, socket.request, o).then(
      (session) => {
        socket.data = { ...(socket.data as object), session }
        const stop = sessions.watch(session, (why) => {
          socket.emit('session-over', { code: closeCodes[why], why })
          socket.disconnect(true)
        })
        // A socket that another middleware refuses never connects, and disconnects all the same.
        socket.conn.once('close', stop)
        socket.once('disconnect', stop)
        next()
      },
      (error: unknown) => {
        const { status, body } = problem(error)
        next(Object.assign(new Error(`refused with ${status}`), { data: JSON.parse(body) as unknown }))
      },
    )
  }
}

const recovery = new ConfigError(
  'connectionStateRecovery: a recovered socket is handed messages although its session may have ended; leave it out',
)
