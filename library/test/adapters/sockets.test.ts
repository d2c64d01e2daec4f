// What every adapter for sockets owes, on ws and on Socket.IO: who it is at the upgrade, and a close with its code when that is over.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import {
  bearerTransport,
  cookieTransport,
  createSessions,
  type Requirement,
  type Session,
  type Sessions as AllSessions,
  type Store,
} from 'holdfast'
import { sessionMiddleware } from 'holdfast/adapters/socket-io'
import { sessionUpgrade } from 'holdfast/adapters/ws'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import fc from 'fast-check'
import { Server as SocketServer, type DefaultEventsMap } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket, WebSocketServer } from 'ws'

type Sessions = AllSessions<Readonly<Record<string, unknown>>>
type AnySession = Session<Readonly<Record<string, unknown>>>

interface Connection {
  /** The user that the server's side of the socket has. */
  who(): Promise<string | null>
  /** The code with which the server closed it. */
  readonly over: Promise<number>
  close(): void
}

interface Kind {
  /** Serves `who` over sockets. */
  serve(sessions: Sessions, requires: Requirement | undefined): Promise<{ url: string; close(): Promise<void> }>
  /** Rejects with the status when the server refuses. */
  connect(url: string, headers: Record<string, string>): Promise<Connection>
}

const kinds: Record<string, Kind> = {
  ws: {
    async serve(sessions, requires) {
      const server = new WebSocketServer({ noServer: true })
      const answer = (socket: WebSocket, session: AnySession) =>
        socket.on('message', () => socket.send(JSON.stringify(session.userId)))
      const http = createServer().on('upgrade', sessionUpgrade(sessions, server, answer, requires && { requires }))
      const url = await listening(http)
      const end = async () => {
        for (const socket of server.clients) socket.terminate()
        http.close()
        http.closeAllConnections()
      }
      return { url, close: end }
    },
    async connect(url, headers) {
      const socket = new WebSocket(url, { headers })
      const refused = Promise.withResolvers<never>()
      socket.on('unexpected-response', (_, response) => refused.reject(response.statusCode))
      socket.on('error', () => {})
      await Promise.race([once(socket, 'open'), refused.promise])
      const over = once(socket, 'close').then(([code]) => code as number)
      return {
        async who() {
          socket.send('who')
          const [data] = (await once(socket, 'message')) as [Buffer]
          return JSON.parse(data.toString()) as string | null
        },
        over,
        close: () => socket.close(),
      }
    },
  },

  'Socket.IO': {
    async serve(sessions, requires) {
      const http = createServer()
      const server = new SocketServer<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, { session: AnySession }>(
        http,
      )
      server.use(sessionMiddleware(sessions, requires && { requires }))
      server.on('connection', (socket) => {
        socket.on('who', (answer: (userId: string | null) => void) => answer(socket.data.session.userId))
      })
      const url = await listening(http)
      return { url, close: () => server.close() }
    },
    async connect(url, headers) {
      const socket = io(url, { extraHeaders: headers, reconnection: false, forceNew: true })
      const connected = Promise.withResolvers<void>()
      socket.on('connect', connected.resolve)
      socket.on('connect_error', (error) => connected.reject((error as { data?: { status: number } }).data?.status))
      await connected.promise
      const over = Promise.withResolvers<number>()
      socket.on('session-over', ({ code }: { code: number }) => socket.on('disconnect', () => over.resolve(code)))
      return {
        who: () => socket.emitWithAck('who') as Promise<string | null>,
        over: over.promise,
        close: () => void socket.close(),
      }
    },
  },
}

async function listening(server: ReturnType<typeof createServer>): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** How many sockets are watched, and when the next one no longer is. */
class Watched {
  size = 0
  #left = Promise.withResolvers<void>()

  gone(): Promise<void> {
    return this.#left.promise
  }

  over(sessions: Sessions): Sessions {
    return {
      ...sessions,
      watch: (session, onOver) => {
        this.size++
        const stop = sessions.watch(session, onOver)
        return onlyOnce(() => {
          stop()
          this.size--
          this.#left.resolve()
        })
      },
    }
  }
}

function onlyOnce(call: () => void): () => void {
  let called = false
  return () => {
    if (!called) call()
    called = true
  }
}

/** Two processes on one store and one feed; the store can be taken away from both. */
function makeSessions() {
  const weather = { isDown: false }
  const right = memoryStore()
  const store: Store = {
    ...right,
    async get(id) {
      if (weather.isDown) throw new Error('connection lost')
      return right.get(id)
    },
  }
  const feed = memoryFeed()
  const roles = { clerk: ['orders:read'] }
  const make = () => createSessions({ store, feed, roles, transport: [cookieTransport(), bearerTransport()] })
  const watched = new Watched()
  return { sessions: watched.over(make()), elsewhere: make(), weather, watched }
}

const rules: Record<string, (site: Site) => Promise<void>> = {
  async 'a socket has the user of the credential that came with the upgrade'({ connect, cookieOf, sessions }) {
    assert.equal(await (await connect((await cookieOf('ada')).headers)).who(), 'ada')
    const { token } = await sessions.start('bob')
    assert.equal(await (await connect({ authorization: `Bearer ${token}` })).who(), 'bob')
  },

  async 'a socket without a credential is nobody’s, and one with a dead credential, too'({
    connect,
    cookieOf,
    sessions,
  }) {
    assert.equal(await (await connect({})).who(), null)
    const { headers, id } = await cookieOf('ada')
    await sessions.end(id)
    assert.equal(await (await connect(headers)).who(), null)
  },

  async 'another site may not open a socket with the cookie of this one'({ connect, cookieOf }) {
    const { headers } = await cookieOf('ada')
    for (const from of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: '', 'sec-fetch-site': 'cross-site' },
      { origin: '', 'sec-fetch-site': 'same-site' },
      { origin: '' },
    ]) {
      await assert.rejects(connect({ ...headers, ...from }), (status) => status === 403, JSON.stringify(from))
    }
  },

  async 'a token in the URL opens nothing'({ connect, sessions }) {
    const { token } = await sessions.start('ada')
    const socket = await connect({}, `?access_token=${token}&token=${token}&__Host-session=${token}`)
    assert.equal(await socket.who(), null)
  },

  async 'when the session ends, in whatever process, the socket is closed with 4401'({ connect, cookieOf, elsewhere }) {
    const { headers, id } = await cookieOf('ada')
    const socket = await connect(headers)
    assert.equal(await socket.who(), 'ada')
    await elsewhere.end(id)
    assert.equal(await socket.over, 4401)
  },

  async 'when the roles change the socket is closed with 4409, and the next one has the new ones until its end'(site) {
    const { headers } = await site.cookieOf('ada', ['clerk'])
    const socket = await site.connect(headers)
    await site.elsewhere.setRoles('ada', [])
    assert.equal(await socket.over, 4409)
    const again = await site.connect(headers)
    await site.elsewhere.endUser('ada')
    assert.equal(await again.over, 4401)
  },

  async 'a socket that closes by itself is watched no longer'({ connect, cookieOf, watched }) {
    const { headers } = await cookieOf('ada')
    const socket = await connect(headers)
    assert.equal(await socket.who(), 'ada')
    assert.equal(watched.size, 1)
    const gone = watched.gone()
    socket.close()
    await gone
    assert.equal(watched.size, 0)
  },

  async 'while the store can’t answer a socket with a credential is refused with 503, and one without is served'(site) {
    const { headers } = await site.cookieOf('ada')
    site.weather.isDown = true
    await assert.rejects(site.connect(headers), (status) => status === 503)
    assert.equal(await (await site.connect({})).who(), null)
    site.weather.isDown = false
    const open = await site.connect(headers)
    site.weather.isDown = true
    assert.equal(await open.who(), 'ada', 'an outage closes nothing')
  },

  async 'without the permission that is required: 401 for nobody, 403 for somebody else'({
    connect,
    cookieOf,
    guarded,
  }) {
    const as = async (userId: string, roles: readonly string[]) => {
      const { headers } = await cookieOf(userId, roles)
      return connect({ ...headers, origin: guarded }, '', guarded)
    }
    await assert.rejects(connect({}, '', guarded), (status) => status === 401)
    await assert.rejects(as('bob', []), (status) => status === 403)
    assert.equal(await (await as('ada', ['clerk'])).who(), 'ada')
  },

  async 'many at once: each socket has its own user, and closes with its own session alone'(site) {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 2, maxLength: 8 }), async (ending) => {
        const all = await Promise.all(ending.map((_, i) => site.cookieOf(`user-${i}`)))
        const sockets = await Promise.all(all.map(({ headers }) => site.connect(headers)))
        const users = await Promise.all(sockets.map((socket) => socket.who()))
        assert.deepEqual(
          users,
          ending.map((_, i) => `user-${i}`),
        )
        await Promise.all(ending.map(async (ends, i) => ends && site.elsewhere.end(all[i]!.id)))
        await Promise.all(sockets.map(async (socket, i) => ending[i] && assert.equal(await socket.over, 4401)))
        await Promise.all(sockets.map(async (socket, i) => ending[i] || assert.equal(await socket.who(), `user-${i}`)))
        for (const socket of sockets) socket.close()
      }),
      { numRuns: 5 },
    )
  },
}

interface Site extends ReturnType<typeof makeSessions> {
  /** Where a permission is required. */
  readonly guarded: string
  connect(headers: Record<string, string>, query?: string, url?: string): Promise<Connection>
  /** The headers that the browser of a user sends, from the site's own pages. */
  cookieOf(userId: string, roles?: readonly string[]): Promise<{ headers: Record<string, string>; id: string }>
}

for (const [kind, { serve, connect }] of Object.entries(kinds)) {
  for (const [name, check] of Object.entries(rules)) {
    test(`${kind}: ${name}`, async () => {
      const world = makeSessions()
      const open: Connection[] = []
      const site = await serve(world.sessions, undefined)
      const guarded = await serve(world.sessions, { permission: 'orders:read' })
      try {
        await check({
          ...world,
          guarded: guarded.url,
          async connect(headers, query = '', url = site.url) {
            const sent = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== ''))
            const connection = await connect(url + query, sent)
            open.push(connection)
            return connection
          },
          async cookieOf(userId, roles = []) {
            const { token, session } = await world.sessions.start(userId, { roles })
            return { id: session.id!, headers: { cookie: `__Host-session=${token}`, origin: site.url } }
          },
        })
      } finally {
        for (const connection of open) connection.close()
        await site.close()
        await guarded.close()
        world.sessions.close()
        world.elsewhere.close()
      }
    })
  }
}

test('Socket.IO: no socket is recovered, since it would be handed messages of a session that has ended', async () => {
  const { sessions, elsewhere } = makeSessions()
  const http = createServer()
  const server = new SocketServer(http, { connectionStateRecovery: { skipMiddlewares: false } })
  server.use(sessionMiddleware(sessions))
  const url = await listening(http)
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
    elsewhere.close()
  }
})
