// `holdfast move` between real engines, under load, killed in the middle: nobody is signed out, no ending undone, no change lost.
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { createSessions } from 'holdfast'
import * as z from 'zod'
import { startDynamodb } from '../../scripts/servers/dynamodb.ts'
import { startMariadb } from '../../scripts/servers/mariadb.ts'
import { startNats } from '../../scripts/servers/nats.ts'
import { startPostgres } from '../../scripts/servers/postgres.ts'
import { startRedis } from '../../scripts/servers/redis.ts'
import { openEngine, openFeed } from '../src/engines/engine.ts'
import { parseFeedUrl } from '../src/engines/feed-url.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { adminSecret, assertNoSecrets, holdfast, main, serve, until } from './service.ts'

interface Place {
  readonly url: string
  /** Of the feed, where the engine has none. */
  readonly feed?: string
  /** Only a stand-in, which serves few. */
  readonly isSlow?: boolean
  stop(): Promise<void>
}

async function startSqlite(): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-move-'))
  return { url: `sqlite:${join(folder, 'sessions.db')}`, stop: async () => rmSync(folder, { recursive: true }) }
}

async function startDynamodbWithFeed(): Promise<Place> {
  const [engine, feed] = await Promise.all([startDynamodb(), startRedis()])
  return {
    url: `dynamodb+http://127.0.0.1:${engine.port}/moving`,
    feed: feed.url,
    isSlow: true,
    async stop() {
      await engine.stop()
      await feed.stop()
    },
  }
}

const engines: Readonly<Record<string, () => Promise<Place>>> = {
  sqlite: startSqlite,
  redis: startRedis,
  postgres: startPostgres,
  mariadb: startMariadb,
  nats: startNats,
  dynamodb: startDynamodbWithFeed,
}

/** One pair is one line. */
const pairs: readonly (readonly [string, string])[] = [
  ['sqlite', 'redis'],
  ['redis', 'sqlite'],
  ['redis', 'redis'],
  ['sqlite', 'postgres'],
  ['postgres', 'mariadb'],
  ['redis', 'nats'],
  ['redis', 'dynamodb'],
  ['dynamodb', 'redis'],
]

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

interface Moving {
  readonly child: ChildProcess
  err(): string
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>
}

function startMove(from: Place, to: Place): Moving {
  const feeds = Object.entries({ '--from-feed': from.feed, '--to-feed': to.feed }).flatMap(([option, url]) =>
    url === undefined ? [] : [option, url],
  )
  const args = ['--conditions=source', main, 'move', '--from', from.url, '--to', to.url, ...feeds]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  children.add(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  }
  for (const one of [child, child.stdout as Socket, child.stderr as Socket]) one.unref()
  const ended = once(child, 'close').then(([code]) => {
    children.delete(child)
    return code as number | null
  })
  return { child, err: () => output, ended }
}

/** A process of an application, by its connections. */
async function application(place: Place) {
  const engine = await openEngine(parseStoreUrl(place.url))
  const { feed, close } = await openFeed(place.feed === undefined ? null : parseFeedUrl(place.feed), engine)
  const sessions = createSessions({
    store: engine.sessions,
    feed,
    // What is kept matters here, not how soon.
    deadline: '10s',
    data: { log: z.array(z.string()).default([]) },
    roles: { shopper: ['orders:read'] },
  })
  return {
    engine,
    sessions,
    async close() {
      sessions.close()
      await close()
      await engine.close()
    },
  }
}

type Application = Awaited<ReturnType<typeof application>>

/** What was acknowledged to the holder of a credential. */
interface Held {
  readonly id: string
  readonly token: string
  readonly userId: string
  readonly log: string[]
  hasEnded: boolean
}

/** Users of one process, one thing after the other, each with several sessions. */
function crowd(name: string, app: Application, pauseMs: number) {
  const held: Held[] = []
  let [turn, tag] = [0, 0]
  let stopping = new AbortController()
  let current = app
  let work: Promise<void> | null = null

  async function act(): Promise<void> {
    turn++
    const userId = `${name}-${turn % 7}`
    const alive = held.filter(({ hasEnded }) => !hasEnded)
    const one = alive[(turn * 31) % Math.max(1, alive.length)]
    if (turn % 4 === 0 || one === undefined) {
      const { session, token } = await current.sessions.start(userId, { roles: ['shopper'] })
      held.push({ id: session.id!, token, userId, log: [], hasEnded: false })
    } else if (turn % 17 === 0) {
      assert.ok(await current.sessions.end(one.id))
      one.hasEnded = true
    } else if (turn % 41 === 0) {
      await current.sessions.endUser(one.userId)
      for (const other of alive) if (other.userId === one.userId) other.hasEnded = true
    } else {
      const session = await current.sessions.open(one.token)
      assert.equal(session.id, one.id, 'signed out')
      const entry = `${name} ${tag++}`
      await session.update('log', (log) => [...log, entry])
      one.log.push(entry)
    }
  }

  return {
    held,
    act,
    begin(app: Application) {
      current = app
      stopping = new AbortController()
      const { signal } = stopping
      work = (async () => {
        while (!signal.aborted) {
          await act()
          // A load, and not all that the machine can do: the mover is to be at work too.
          await new Promise((resolve) => setTimeout(resolve, pauseMs))
        }
      })()
      work.catch(() => {})
    },
    async stop() {
      stopping.abort()
      await work
    },
  }
}

async function assertKept(app: Application, held: readonly Held[], where: string): Promise<void> {
  await someAtATime(held, async ({ id, token, log, hasEnded }) => {
    const session = await app.sessions.open(token)
    assert.equal(session.id, hasEnded ? null : id, `${where}: ${hasEnded ? 'revived' : 'signed out'}`)
    if (!hasEnded) assert.deepEqual(await session.read('log'), log, `${where}: a change was lost`)
  })
}

/** Hundreds at once would wait for a connection of the pool for longer than anybody does. */
async function someAtATime(held: readonly Held[], look: (one: Held) => Promise<void>): Promise<void> {
  const left = held.values()
  const lookOn = async () => {
    for (const one of left) await look(one)
  }
  await Promise.all(Array.from({ length: 8 }, lookOn))
}

/** By their feed: a process that knows a session from before doesn't ask its store again. */
async function assertEndsHeard(here: Application, there: Application): Promise<void> {
  const { session, token } = await here.sessions.start('of-both-sides')
  await until(async () => (await there.sessions.open(token)).id === session.id, 'a session on the other side')
  assert.ok(await here.sessions.end(session.id!))
  await until(async () => (await there.sessions.open(token)).id === null, 'its end on the other side')
}

for (const [from, to] of pairs) {
  describe(`from ${from} to ${to}`, () => {
    const stops: (() => Promise<unknown>)[] = []
    after(async () => {
      for (const stop of stops.toReversed()) await stop()
    })

    it('keeps every session, ending and change while the processes go over', async (t) => {
      const places = [await engines[from]!(), await engines[to]!()] as const
      for (const place of places) stops.push(() => place.stop())
      const urls = places.flatMap(({ url, feed }) => (feed === undefined ? url : [url, feed]))
      if (new Set(urls).size < urls.length) return t.skip('one server was lent, and this takes two')
      const isSlow = places.some((place) => place.isSlow === true)
      const [old, next] = [await application(places[0]), await application(places[1])] as const
      const crowds = await Promise.all(
        ['a', 'b', 'c'].map(async (name) => {
          const app = await application(places[0])
          stops.push(() => app.close())
          return { app, ...crowd(name, app, isSlow ? 100 : 5) }
        }),
      )
      stops.push(
        () => old.close(),
        () => next.close(),
      )
      for (const one of crowds) for (let i = 0; i < (isSlow ? 40 : 80); i++) await one.act()
      for (const one of crowds) {
        one.begin(one.app)
        stops.push(() => one.stop().catch(() => {}))
      }

      const killed = startMove(places[0], places[1])
      await until(async () => (await next.engine.sessions.scan({ limit: 100 })).records.length > 0, 'a first copy')
      killed.child.ref()
      killed.child.kill('SIGKILL')
      await killed.ended
      const moving = startMove(places[0], places[1])
      stops.push(async () => moving.child.kill('SIGKILL'))
      await until(() => /^in step/m.test(moving.err()) || moving.child.exitCode !== null, 'being in step')
      assert.match(moving.err(), /^going on: /m)
      await assertEndsHeard(old, next)
      await assertEndsHeard(next, old)

      for (const one of crowds) {
        await one.stop()
        // A restart takes longer than a pass; what was written before it is there after it.
        await someAtATime(one.held, async ({ id, hasEnded }) => {
          const isThere = async () => {
            const [was, is] = [await old.engine.sessions.get(id), await next.engine.sessions.get(id)]
            return hasEnded ? is === null : is !== null && is.version >= was!.version
          }
          await until(isThere, `${id} on the other side`)
        })
        const app = await application(places[1])
        stops.push(() => app.close())
        const count = one.held.length
        one.begin(app)
        await until(() => one.held.length > count + 5, 'sign-ins on the new engine')
      }
      for (const one of crowds) await one.stop()

      moving.child.ref()
      moving.child.kill('SIGINT')
      assert.equal(await moving.ended, 0, moving.err())
      assert.match(moving.err(), /^failed +0$/m)
      assert.match(moving.err(), /^changed on both sides +0$/m)
      const held = crowds.flatMap((one) => one.held)
      assert.ok(held.some(({ hasEnded }) => hasEnded))
      await assertKept(next, held, to)
      // Whoever still comes to the old one is served as well.
      await assertKept(old, held, from)
    })
  })
}

describe('holdfast move', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-move-'))
  after(() => rmSync(folder, { recursive: true }))
  const file = (name: string) => `sqlite:${join(folder, name)}`

  it('moves a service: its clients, its signing keys, its sessions', async () => {
    const env = (name: string) => ({
      HOLDFAST_DATA: folder,
      HOLDFAST_STORE: file(name),
      HOLDFAST_ADMIN_SECRET: adminSecret,
      HOLDFAST_ISSUER: 'https://sessions.test',
    })
    const before = await serve(env('a.db'))
    const { token } = await before.start()
    const { accessToken, refreshToken } = await before.startSigned()
    const secret = holdfast(['clients', 'add', 'shop', '--permissions', 'verify'], env('a.db')).out.trim()
    assert.equal(await before.end(), 0)
    const { code, out, err } = holdfast(['move', '--from', file('a.db'), '--to', file('b.db'), '--once'], {})
    assert.equal(code, 0, err)
    assert.match(out, /^copied to the target +2$/m)
    assertNoSecrets(out + err)
    const moved = await serve(env('b.db'))
    for (const held of [token, accessToken]) {
      const verified = await moved.call('POST', '/v1/sessions/verify', { as: `shop:${secret}`, body: { token: held } })
      assert.deepEqual([verified.status, verified.body.active], [200, true])
    }
    assert.equal((await moved.call('POST', '/v1/sessions/refresh', { body: { refreshToken } })).status, 200)
    assert.equal(await moved.end(), 0)
  })

  const refusals: readonly (readonly [string, readonly string[], RegExp, number])[] = [
    ['no --to', ['--from', file('a.db')], /--to is missing/, 2],
    [
      'the same store twice',
      ['--from', file('a.db'), '--to', file('./a.db')],
      /--to: it is the same store as --from/,
      2,
    ],
    ['a source that is not there', ['--from', file('none.db'), '--to', file('b.db')], /--from: there is no file/, 1],
    ['memory', ['--from', 'memory:', '--to', file('b.db')], /--from: memory: is inside of the service/, 2],
    ['Memcached', ['--from', 'memcached://127.0.0.1', '--to', file('b.db')], /--from: Memcached can't list/, 2],
    ['no URL', ['--from', 'redis', '--to', file('b.db')], /--from: expected memory:/, 2],
    [
      'a target that is away, without its password',
      ['--from', file('a.db'), '--to', 'redis://u:a-password-of-mine@127.0.0.1:1'],
      /^holdfast: --to: Redis at redis:\/\/127.0.0.1:1 can't be reached/m,
      1,
    ],
  ]
  for (const [what, args, message, expected] of refusals) {
    it(`refuses ${what}`, async () => {
      await (await openEngine(parseStoreUrl(file('a.db')))).close()
      const { code, err } = holdfast(['move', ...args], {})
      assert.equal(code, expected, err)
      assert.match(err, message)
      assert.doesNotMatch(err, /a-password-of-mine/)
    })
  }

  it('refuses a target that a newer Holdfast wrote', async () => {
    const engine = await openEngine(parseStoreUrl(file('newer.db')))
    const { ensureFormat, formatMarkId } = await import('../src/format.ts')
    await ensureFormat(engine.clients)
    const mark = (await engine.clients.get(formatMarkId))!
    await engine.clients.put({ ...mark, identity: '{"format":99}', version: mark.version + 1 }, mark.version)
    await engine.close()
    const { code, err } = holdfast(['move', '--from', file('a.db'), '--to', file('newer.db')], {})
    assert.equal(code, 1)
    assert.match(err, /--to: the store was written by a newer Holdfast \(format 99/)
  })
})
