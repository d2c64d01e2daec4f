// Adapters for sockets on ws, Socket.IO and the streams of gRPC.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { bearerTransport, createSessions } from 'holdfast'
import { sessionMiddleware } from 'holdfast/adapters/socket-io'
import { memoryStore } from 'holdfast/stores/memory'
import { testSocketAdapter } from 'holdfast/testing'
import { Server as SocketServer } from 'socket.io'
import { io } from 'socket.io-client'
import { listening } from './servers.ts'
import { overGrpc, overSocketIo, overWs } from './socket-servers.ts'

testSocketAdapter('ws', { test, ...overWs })
testSocketAdapter('Socket.IO', { test, ...overSocketIo })
testSocketAdapter('gRPC', { test, ...overGrpc })

test('Socket.IO: no socket is recovered, since it would be handed messages of a session that has ended', async () => {
  const sessions = createSessions({ store: memoryStore(), transport: bearerTransport() })
  const http = createServer()
  const server = new SocketServer(http, { connectionStateRecovery: { skipMiddlewares: false } })
  server.use(sessionMiddleware(sessions))
  const { url } = await listening(http)
  const { token } = await sessions.start('ada')
  const socket = io(url, { extraHeaders: { authorization: `Bearer ${token}` }, reconnection: false, forceNew: true })
  try {
    const refused = Promise.withResolvers<string>()
    socket.on('connect', () => refused.resolve('connected'))
    socket.on('connect_error', ({ message }) => refused.resolve(message))
    assert.match(await refused.promise, /^connectionStateRecovery: .*leave it out$/)
  } finally {
    socket.close()
    await server.close()
    sessions.close()
  }
})
