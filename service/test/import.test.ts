// Nobody is signed out: users of express-session on connect-redis and connect-pg-simple, imported, go on with the cookies that they have.
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import connectPgSimple from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import express, { type RequestHandler } from 'express'
import session, { type SessionData } from 'express-session'
import { createSessions, type Store } from 'holdfast'
import holdfastSession from 'holdfast/compat/express-session'
import { postgresStore } from 'holdfast/stores/postgres'
import { redisStore } from 'holdfast/stores/redis'
import { Pool } from 'pg'
import { createClient } from 'redis'
import { startPostgres } from '../../scripts/servers/postgres.ts'
import { startRedis } from '../../scripts/servers/redis.ts'
import { holdfast } from './service.ts'

declare module 'express-session' {
  interface SessionData {
    passport?: { user?: unknown }
    items?: string[]
    account?: { number: number }
  }
}

const secret = 'keyboard cat'
const maxAge = 3_600_000

/** An application; what differs is one line of it. */
async function running(middleware: RequestHandler) {
  const app = express()
  app.use(middleware)
  app.get('/sign-in/:user', (req, res, next) => {
    req.session.regenerate((error: unknown) => {
      if (error) return next(error)
      req.session.passport = { user: req.params.user }
      // Until it has saved, express-session holds back the last byte of the answer, if there is one.
      res.send('done')
    })
  })
  app.get('/add/:item', (req, res) => {
    req.session.items = [...(req.session.items ?? []), req.params.item]
    res.json(req.session.items)
  })
  app.get(
    '/',
    (req, res) => void res.json({ user: req.session.passport?.user ?? null, items: req.session.items ?? [] }),
  )
  app.get('/sign-out', (req, res) => void req.session.destroy(() => res.send('')))
  /** A request that waits in the middle. */
  const slow = new EventEmitter()
  app.get('/slow', async (req, res) => {
    req.session.account = { number: (req.session.account?.number ?? 0) + 1 }
    const leave = once(slow, 'leave')
    slow.emit('entered')
    await leave
    res.send('done')
  })
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    slow,
    async get(path: string, cookie = '') {
      const response = await fetch(url + path, { headers: { cookie } })
      return { text: await response.text(), cookie: response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie }
    },
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface Old {
  readonly url: string
  readonly args: readonly string[]
  readonly express: session.Store
  readonly holdfast: Store
  /** What is there beside sessions that can be read. */
  spoil(): Promise<void>
  stop(): Promise<void>
}

const olds: Record<string, () => Promise<Old>> = {
  async 'connect-redis'() {
    const server = await startRedis()
    const client = createClient({ url: server.url })
    await client.connect()
    return {
      url: server.url,
      args: ['--prefix', 'shop[1]:'],
      express: new RedisStore({ client, prefix: 'shop[1]:' }),
      holdfast: redisStore(client),
      async spoil() {
        await client.set('shop[1]:broken', '{"cookie":"s3cret')
        await client.hSet('shop[1]:hash', 'a', 'b')
        await client.set('shop1:other', '{"cookie":{}}')
      },
      async stop() {
        client.destroy()
        await server.stop()
      },
    }
  },
  async 'connect-pg-simple'() {
    const server = await startPostgres()
    const pool = new Pool({ connectionString: server.url })
    // The server ends before its connections do.
    pool.on('error', () => {})
    await pool.query('CREATE SCHEMA shop')
    const PgStore = connectPgSimple(session)
    return {
      url: server.url,
      args: ['--table', 'shop.Session'],
      express: new PgStore({
        pool,
        schemaName: 'shop',
        tableName: 'Session',
        createTableIfMissing: true,
        pruneSessionInterval: false,
      }),
      holdfast: postgresStore(pool),
      async spoil() {
        const insert = `INSERT INTO shop."Session" VALUES ('broken', '"s3cret"', now() + interval '1h'), ('over', '{"cookie":{}}', now() - interval '1s')`
        await pool.query(insert)
      },
      async stop() {
        await pool.end()
        await server.stop()
      },
    }
  },
}

for (const [format, start] of Object.entries(olds)) {
  describe(format, () => {
    let old: Old
    before(async () => {
      old = await start()
    })
    after(() => old.stop())

    const importing = (...args: readonly string[]) =>
      holdfast(['import', '--from', old.url, '--to', old.url, '--format', format, ...old.args, ...args], {})

    test('who was signed in still is, with the same cookie and the same data', async () => {
      const options = { secret, resave: false, saveUninitialized: false, cookie: { maxAge } }
      const before = await running(session({ ...options, store: old.express }))
      const ada = await before.get('/sign-in/ada')
      await before.get('/add/tea', ada.cookie)
      const bob = await before.get('/sign-in/bob')
      const guest = await before.get('/add/jam')
      await before.stop()
      await old.spoil()

      const first = importing()
      assert.equal(first.code, 1, first.err)
      assert.match(first.out, /^imported +3\nalready there +0\nof nobody +1\nexpired +0\nfailed +1\n/)
      assert.match(first.err, /a session is no JSON|no session of express-session/)
      assert.ok(!`${first.out}${first.err}`.includes('s3cret'))
      const second = importing()
      assert.match(second.out, /^imported +0\nalready there +3\n/)

      // One import is another.
      const now = await running(holdfastSession({ ...options, store: old.holdfast }))
      try {
        const read = async (cookie: string) => JSON.parse((await now.get('/', cookie)).text)
        assert.deepEqual(await read(ada.cookie), { user: 'ada', items: ['tea'] })
        assert.deepEqual(await read(bob.cookie), { user: 'bob', items: [] })
        assert.deepEqual(await read(guest.cookie), { user: null, items: ['jam'] })
        const renewed = await now.get('/add/rye', ada.cookie)
        assert.equal(renewed.cookie, ada.cookie, 'the secret goes on to guard it')
        assert.deepEqual(await read(renewed.cookie), { user: 'ada', items: ['tea', 'rye'] })
        const sessions = createSessions({ store: old.holdfast })
        assert.equal(await sessions.endUser('bob'), 1)
        assert.deepEqual(await read(bob.cookie), { user: null, items: [] })
        assert.match(importing().out, /^imported +1\n/, 'why the old application has to be stopped for good')
      } finally {
        await now.stop()
      }
    })

    test('what a slow request undoes on the old store, it does not on the new one', async () => {
      const options = { secret, resave: false, saveUninitialized: false }
      const undone: unknown[] = []
      for (const middleware of [
        session({ ...options, store: old.express }),
        holdfastSession({ ...options, store: old.holdfast }),
      ]) {
        const app = await running(middleware)
        const { cookie } = await app.get('/sign-in/ada')
        for (const path of ['/add/tea', '/sign-out']) {
          const entered = once(app.slow, 'entered')
          const waiting = app.get('/slow', cookie)
          await entered
          await app.get(path, cookie)
          app.slow.emit('leave')
          await waiting
          undone.push(JSON.parse((await app.get('/', cookie)).text))
        }
        await app.stop()
      }
      assert.deepEqual(undone, [
        { user: 'ada', items: [] },
        { user: 'ada', items: [] },
        { user: 'ada', items: ['tea'] },
        { user: null, items: [] },
      ])
    })

    test('a session that was only touched lives as long as its store says, and another field tells whose it is', async () => {
      const cookie = (ms: number) => ({
        originalMaxAge: 60_000,
        expires: new Date(Date.now() + ms),
        path: '/',
        httpOnly: true,
      })
      const stale = { cookie: cookie(10_000), account: { number: 7 } } as unknown as SessionData
      const done = (resolve: () => void, reject: (error: unknown) => void) => (error?: unknown) =>
        error ? reject(error) : resolve()
      await new Promise<void>((resolve, reject) => {
        const long = { ...stale, cookie: cookie(60_000) } as SessionData
        old.express.set('touched', stale, (error) =>
          error ? reject(error as Error) : old.express.touch!('touched', long, done(resolve, reject)),
        )
      })
      const { err } = importing('--user-field', 'account.number')
      assert.match(err, /^importing: /)
      const [record] = await old.holdfast.listByUser('7')
      assert.ok(record !== undefined && record.expiresAt > Date.now() + 30_000)
      const { cookie: kept } = JSON.parse(record.data)['express-session']
      assert.equal(Date.parse(kept.expires), record.expiresAt)
    })
  })
}

test('what it was told is checked', () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /--format: expected connect-redis or connect-pg-simple/],
    [['--format', 'connect-redis'], /--from is missing/],
    [['--format', 'connect-redis', '--from', 'redis://h:1'], /--to is missing/],
    [
      ['--format', 'connect-redis', '--from', 'postgres://h/d', '--to', 'redis://h:1'],
      /--from: connect-redis is read from redis:/,
    ],
    [
      ['--format', 'connect-pg-simple', '--from', 'redis://:s3cret@h:1', '--to', 'redis://h:1'],
      /--from: connect-pg-simple is read from postgres:/,
    ],
    [
      ['--format', 'connect-pg-simple', '--prefix', 'a', '--from', 'redis://h:1', '--to', 'redis://h:1'],
      /--prefix: only connect-redis/,
    ],
    [['--format', 'connect-redis', '--from', 'redis://127.0.0.1:1', '--to', 'memory:'], /--to: memory:/],
    [['extra'], /takes no arguments/],
  ]
  for (const [args, expected] of wrong) {
    const { code, err } = holdfast(['import', ...args], {})
    assert.equal(code, 2, err)
    assert.match(err, expected)
    assert.ok(!err.includes('s3cret'))
  }
  const away = holdfast(
    ['import', '--format', 'connect-redis', '--from', 'redis://:s3cret@127.0.0.1:1', '--to', 'redis://127.0.0.1:1'],
    {},
  )
  assert.equal(away.code, 1)
  assert.match(away.err, /^holdfast: --from: Redis at redis:\/\/127\.0\.0\.1:1 can't be read: ECONNREFUSED\n$/)
})
