// What the adapters for sockets are tried with: a server as its users would set it up, and a client.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import {
  credentials,
  loadPackageDefinition,
  Metadata,
  Server as GrpcServer,
  ServerCredentials,
  status,
  type ClientDuplexStream,
  type GrpcObject,
  type ServerDuplexStream,
  type ServiceClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { sessionInterceptor } from 'holdfast/adapters/grpc'
import { sessionMiddleware } from 'holdfast/adapters/socket-io'
import { sessionUpgrade } from 'holdfast/adapters/ws'
import type { SocketAdapterUnderTest } from 'holdfast/testing'
import { Server as SocketServer, type DefaultEventsMap } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket, WebSocketServer } from 'ws'
import { listening } from './servers.ts'

type AnySession = Parameters<Parameters<SocketAdapterUnderTest['serve']>[1]>[0]

export const overWs: SocketAdapterUnderTest = {
  async serve(sessions, handle, requires) {
    const server = new WebSocketServer({ noServer: true })
    const upgrade = sessionUpgrade(
      sessions,
      server,
      (socket, session) => socket.on('message', (data) => socket.send(handle(session, String(data)))),
      requires === null ? {} : { requires },
    )
    const { url, close } = await listening(createServer().on('upgrade', upgrade))
    const end = () => {
      for (const socket of server.clients) socket.terminate()
      return close()
    }
    return { url, close: end }
  },

  async connect(url, headers) {
    const socket = new WebSocket(url, { headers })
    const refused = Promise.withResolvers<number>()
    socket.on('unexpected-response', (_, response) => refused.resolve(response.statusCode!))
    socket.on('error', () => {})
    const status = await Promise.race([once(socket, 'open').then(() => null), refused.promise])
    if (status !== null) return status
    const answers = inTurn()
    socket.on('message', (data) => answers.came(String(data)))
    return {
      ask(message) {
        socket.send(message)
        return answers.next()
      },
      over: once(socket, 'close').then(([code]) => code as number),
      close: () => socket.close(),
    }
  },
}

export const overSocketIo: SocketAdapterUnderTest = {
  async serve(sessions, handle, requires) {
    const http = createServer()
    const server = new SocketServer<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, { session: AnySession }>(http)
    server.use(sessionMiddleware(sessions, requires === null ? {} : { requires }))
    server.on('connection', (socket) => {
      socket.on('ask', (message: string, answer: (text: string) => void) =>
        answer(handle(socket.data.session, message)),
      )
    })
    const { url } = await listening(http)
    return { url, close: () => server.close() }
  },

  async connect(url, headers) {
    const socket = io(url, { extraHeaders: { ...headers }, reconnection: false, forceNew: true })
    const over = Promise.withResolvers<number>()
    socket.on('session-over', ({ code }: { code: number }) => socket.on('disconnect', () => over.resolve(code)))
    const connected = Promise.withResolvers<number | null>()
    socket.on('connect', () => connected.resolve(null))
    socket.on('connect_error', (error) => {
      connected.resolve((error as { data?: { status: number } }).data?.status ?? Number.NaN)
    })
    const refused = await connected.promise
    if (refused !== null) socket.close()
    return (
      refused ?? {
        ask: (message) => socket.emitWithAck('ask', message) as Promise<string>,
        over: over.promise,
        close: () => void socket.close(),
      }
    )
  },
}

interface Text {
  text: string
}

const { shop } = loadPackageDefinition(loadSync(join(import.meta.dirname, 'orders.proto'))) as unknown as {
  shop: GrpcObject & { Orders: ServiceClientConstructor }
}
const statuses: Readonly<Record<number, number>> = {
  [status.UNAUTHENTICATED]: 401,
  [status.PERMISSION_DENIED]: 403,
  [status.UNAVAILABLE]: 503,
}

/** Streams, with the headers as metadata. */
export const overGrpc: SocketAdapterUnderTest = {
  codes: { ended: status.UNAUTHENTICATED, changed: status.UNAUTHENTICATED },
  takesQuery: false,

  async serve(sessions, handle, requires) {
    const { interceptor, sessionOf } = sessionInterceptor(sessions, {
      requires: requires === null ? {} : { '/shop.Orders/Talk': requires },
    })
    const server = new GrpcServer({ interceptors: [interceptor] })
    server.addService(shop.Orders.service, {
      Talk(call: ServerDuplexStream<Text, Text>) {
        call.sendMetadata(new Metadata())
        call.on('data', ({ text }: Text) => call.write({ text: handle(sessionOf(call), text) }))
        call.on('error', () => {})
        call.on('end', () => call.end())
      },
    })
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    )
    return { url: `http://127.0.0.1:${port}`, close: () => server.forceShutdown() }
  },

  async connect(url, headers) {
    const client = new shop.Orders(new URL(url).host, credentials.createInsecure())
    const metadata = new Metadata()
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
    const call = (client as unknown as { talk(m: Metadata): ClientDuplexStream<Text, Text> }).talk(metadata)
    const answers = inTurn()
    call.on('data', ({ text }: Text) => answers.came(text))
    const over = new Promise<number>((resolve) => call.on('error', ({ code }: ServiceError) => resolve(code)))
    const code = await Promise.race([once(call, 'metadata').then(() => null), over])
    if (code !== null) {
      client.close()
      return statuses[code] ?? Number.NaN
    }
    return {
      ask(message) {
        call.write({ text: message })
        return answers.next()
      },
      over,
      close() {
        call.cancel()
        client.close()
      },
    }
  },
}

/** Answers that come in the order of their questions. */
function inTurn() {
  const waiting: ((answer: string) => void)[] = []
  return {
    next: () => new Promise<string>((resolve) => waiting.push(resolve)),
    came: (answer: string) => waiting.shift()?.(answer),
  }
}
