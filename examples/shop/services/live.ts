// Pushes orders to the browser, over a WebSocket that closes when the session ends.
import { createServer } from 'node:http'
import { status, type ServiceError } from '@grpc/grpc-js'
import { createSessions, opaqueCredentials } from 'holdfast'
import { sessionUpgrade } from 'holdfast/adapters/ws'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import { WebSocketServer } from 'ws'
import { ordersAt, type OrderList } from './orders-client.ts'
import { chain, env, port, shared } from './system.ts'

const sessions = createSessions({
  ...shared,
  credentials: [opaqueCredentials(), assertionCredentials({ ...chain, service: 'live' })],
  data: {},
})
const orders = ordersAt(env('ORDERS'))

/** What `sessionUpgrade` closes with too. */
const signedOut = 4401
/** RFC 6455's registry: service restart, come again. */
const comeAgain = 1012

const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024 })
const upgrade = sessionUpgrade(sessions, sockets, (socket, session) => {
  // Not by `requires`: a page is told the code of a close, but not that an upgrade was a 401.
  if (session.userId === null) return socket.close(signedOut, 'sign in')
  const stream = orders.watch(() => sessions.assertionFor(session, 'orders', { scope: ['orders:read', 'orders:ship'] }))
  stream.on('data', ({ orders = [] }: Partial<OrderList>) => socket.send(JSON.stringify(orders)))
  stream.on('error', ({ code }: ServiceError) => socket.close(code === status.UNAUTHENTICATED ? signedOut : comeAgain))
  socket.on('close', () => stream.cancel())
})

const server = createServer((_request, response) => response.writeHead(426, { upgrade: 'websocket' }).end())
server.on('upgrade', upgrade).listen(port, '127.0.0.1')
