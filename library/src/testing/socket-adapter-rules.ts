// What every adapter for sockets owes, rule by rule: who it is when it connects, and a close with its code when that is over.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { memoryFeed } from '../feeds/memory.ts'
import { createSessions, type Session, type Sessions } from '../index.ts'
import { memoryStore } from '../stores/memory.ts'
import { bearerTransport } from '../transport/bearer.ts'
import { cookieTransport } from '../transport/cookie.ts'
import { closeCodes } from '../internal/upgrade.node.ts'
import { failing, type Weather } from './adapter-application.ts'
import { inTime, turn } from './feed-fixtures.ts'
import type { SocketAdapterRule, SocketAdapterUnderTest, SocketClient } from './socket-adapter.ts'

type AnySessions = Sessions<Record<string, unknown>>
type AnySession = Session<Record<string, unknown>>
type Headers = Readonly<Record<string, string>>

/** The contract's application behind the adapter, another process on the same sessions, and a way to take the store from both. */
interface Site extends Weather {
  readonly sessions: AnySessions
  readonly elsewhere: AnySessions
  readonly codes: { readonly ended: number; readonly changed: number }
  readonly watched: Watched
  /** Where a permission is required. */
  readonly guarded: string
  /** Connects, to `url` where one is given, and is let in. */
  connect(headers: Headers, query?: string, url?: string): Promise<Talker>
  /** The status by which a connection is refused. */
  refused(headers: Headers, url?: string): Promise<number>
  /** The headers that the browser of a user sends, from the site's own pages. */
  cookieOf(userId: string, roles?: readonly string[], from?: string): Promise<{ headers: Headers; id: string }>
}

interface Talker {
  /** The user that the server's side has. */
  who(): Promise<string | null>
  readonly over: Promise<number>
  /** Sends messages until it is over. */
  chatter(): Promise<void>
  close(): void
}

const rules: Record<string, (site: Site) => Promise<void>> = {
  async 'a connection has the user of the credential that came with it'({ connect, cookieOf, sessions }) {
    assert.equal(await (await connect((await cookieOf('ada')).headers)).who(), 'ada')
    const { token } = await sessions.start('bob')
    assert.equal(await (await connect({ authorization: `Bearer ${token}` })).who(), 'bob')
  },

  async 'a connection without a credential is nobody’s, and one with a dead credential, too'(site) {
    assert.equal(await (await site.connect({})).who(), null)
    const { headers, id } = await site.cookieOf('ada')
    await site.sessions.end(id)
    assert.equal(await (await site.connect(headers)).who(), null)
  },

  async 'another site may not connect with the cookie of this one'({ refused, cookieOf }) {
    const { headers } = await cookieOf('ada')
    const { origin: _, ...noOrigin } = headers
    for (const all of [
      { ...headers, origin: 'https://evil.example' },
      { ...headers, origin: 'null' },
      { ...noOrigin, 'sec-fetch-site': 'cross-site' },
      { ...noOrigin, 'sec-fetch-site': 'same-site' },
      noOrigin,
    ])
      assert.equal(await refused(all), 403, JSON.stringify({ ...all, cookie: '' }))
  },

  async 'a token in the URL opens nothing'({ connect, sessions }) {
    const { token } = await sessions.start('ada')
    const socket = await connect({}, `?access_token=${token}&token=${token}&__Host-session=${token}`)
    assert.equal(await socket.who(), null)
  },

  async 'when the session ends, in whatever process, it is closed with the code that says so'(site) {
    const { headers, id } = await site.cookieOf('ada')
    const socket = await site.connect(headers)
    assert.equal(await socket.who(), 'ada')
    await site.elsewhere.end(id)
    assert.equal(await socket.over, site.codes.ended)
  },

  async 'when the roles change it is closed with the code that says so, and the next one has the new ones'(site) {
    const { headers } = await site.cookieOf('ada', ['clerk'])
    const socket = await site.connect(headers)
    await site.elsewhere.setRoles('ada', [])
    assert.equal(await socket.over, site.codes.changed)
    const again = await site.connect(headers)
    assert.equal(await again.who(), 'ada')
    await site.elsewhere.endUser('ada')
    assert.equal(await again.over, site.codes.ended)
  },

  async 'what arrives after the session is over is not heard'(site) {
    const all = await Promise.all(['ada', 'bob', 'cyd'].map((userId) => site.cookieOf(userId)))
    const sockets = await Promise.all(all.map(({ headers }) => site.connect(headers)))
    // So that something is under way when the server closes.
    const chatter = sockets.map((socket) => socket.chatter())
    for (let i = 0; i < 10; i++) await turn()
    for (const { id } of all) await site.elsewhere.end(id)
    await Promise.all(chatter)
    for (let i = 0; i < 10; i++) await turn()
    assert.equal(site.watched.heardLate, 0)
  },

  async 'a connection that is closed by the client is watched no longer'({ connect, cookieOf, watched }) {
    const { headers } = await cookieOf('ada')
    const socket = await connect(headers)
    assert.equal(await socket.who(), 'ada')
    assert.equal(watched.size, 1)
    socket.close()
    await inTime(watched.gone, 'the end of watching')
    assert.equal(watched.size, 0)
  },

  async 'while the store can’t answer it is refused with a credential, and served without; what is open stays'(site) {
    const { headers } = await site.cookieOf('ada')
    const bob = await site.cookieOf('bob')
    const open = await site.connect(headers)
    site.store = 'down'
    assert.equal(await site.refused(bob.headers), 503)
    assert.equal(await (await site.connect({})).who(), null)
    assert.equal(await open.who(), 'ada')
  },

  async 'without the permission that is required nobody gets 401, and somebody else 403'(site) {
    const as = async (userId: string, roles: readonly string[]) =>
      (await site.cookieOf(userId, roles, site.guarded)).headers
    assert.equal(await site.refused({}, site.guarded), 401)
    assert.equal(await site.refused(await as('bob', []), site.guarded), 403)
    assert.equal(await (await site.connect(await as('ada', ['clerk']), '', site.guarded)).who(), 'ada')
  },

  async 'many at once: each connection has its own user, and closes with its own session alone'(site) {
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
        for (const [i, socket] of sockets.entries()) if (ending[i]) assert.equal(await socket.over, site.codes.ended)
        for (const [i, socket] of sockets.entries()) if (!ending[i]) assert.equal(await socket.who(), `user-${i}`)
        for (const socket of sockets) socket.close()
      }),
      { numRuns: 5, endOnFailure: true },
    )
  },
}

/** Each rule with a site of its own. */
export const socketAdapterRules: readonly SocketAdapterRule[] = Object.entries(rules).map(([name, check]) => ({
  name,
  ...(/\bURL\b/.test(name) ? { needs: 'takesQuery' as const } : {}),
  check: (adapter) => onSite(adapter, check),
}))

async function onSite(adapter: SocketAdapterUnderTest, check: (site: Site) => Promise<void>): Promise<void> {
  const weather: Weather = { store: 'up' }
  const options = {
    store: failing(memoryStore(), weather),
    feed: memoryFeed(),
    transport: [cookieTransport(), bearerTransport()],
    roles: { clerk: ['orders:read'] },
  }
  const [here, elsewhere] = [createSessions(options), createSessions(options)] as [AnySessions, AnySessions]
  const watched = new Watched()
  const sessions = watched.over(here)
  const serve = (requires: { permission: string } | null) =>
    adapter.serve(sessions, (session) => watched.hears(session), requires)
  const [site, guarded] = [await serve(null), await serve({ permission: 'orders:read' })]
  const open: SocketClient[] = []

  const connected = async (headers: Headers, url: string) => {
    const client = await inTime(adapter.connect(url, headers), 'a connection, or a refusal')
    if (typeof client !== 'number') open.push(client)
    return client
  }
  try {
    await check(
      Object.assign(weather, {
        sessions,
        elsewhere,
        watched,
        codes: adapter.codes ?? closeCodes,
        guarded: guarded.url,
        async connect(headers: Headers, query = '', url = site.url) {
          const client = await connected(headers, url + query)
          assert.ok(typeof client !== 'number', `refused with ${String(client)}`)
          return talker(client)
        },
        async refused(headers: Headers, url = site.url) {
          const status = await connected(headers, url)
          assert.ok(typeof status === 'number', 'it was let in')
          return status
        },
        async cookieOf(userId: string, roles: readonly string[] = [], from = site.url) {
          const { token, session } = await here.start(userId, { roles })
          return { id: session.id!, headers: { cookie: `__Host-session=${token}`, origin: from } }
        },
      }),
    )
  } finally {
    for (const client of open) client.close()
    await site.close()
    await guarded.close()
    here.close()
    elsewhere.close()
  }
}

function talker(client: SocketClient): Talker {
  const over = () => inTime(client.over, 'the close of a connection whose session is over')
  return {
    who: async () => JSON.parse(await inTime(client.ask('who'), 'an answer')) as string | null,
    get over() {
      return over()
    },
    async chatter() {
      const talking = new AbortController()
      const talk = async () => {
        for (; !talking.signal.aborted; await turn()) client.ask('more').catch(() => {})
      }
      await Promise.all([over().finally(() => talking.abort()), talk()])
    },
    close: () => client.close(),
  }
}

/** Which sessions are watched, and what is heard of those that are over. */
class Watched {
  size = 0
  heardLate = 0
  readonly #over = new Set<AnySession>()
  readonly #gone = Promise.withResolvers<void>()

  /** The first one is no longer watched. */
  get gone(): Promise<void> {
    return this.#gone.promise
  }

  /** The application. */
  hears(session: AnySession): string {
    if (this.#over.has(session)) this.heardLate++
    return JSON.stringify(session.userId)
  }

  over(sessions: AnySessions): AnySessions {
    return {
      ...sessions,
      watch: (session, onOver) => {
        this.size++
        let isWatched = true
        const stop = sessions.watch(session, (why) => {
          onOver(why)
          this.#over.add(session)
        })
        return () => {
          stop()
          if (isWatched) this.size--
          isWatched = false
          this.#gone.resolve()
        }
      },
    }
  }
}
