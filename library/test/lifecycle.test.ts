// What holds under concurrency, on every store: nothing lost, nothing revived, no limit exceeded.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { startRedis } from '../../scripts/servers/redis.ts'
import {
  createSessions,
  LimitError,
  SessionGoneError,
  type Session,
  type Sessions,
  type SessionsOptions,
  type Store,
} from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { around, browser, counting, system } from './fixtures.ts'
import { storeOf } from './stores/processes/store-of.ts'

type Data = Record<string, unknown>

/** An engine, and any number of connections to it. */
interface Engine {
  readonly url: string | null
  connect(): Promise<Store>
  stop(): Promise<void>
}

async function inMemory(): Promise<Engine> {
  const store = memoryStore()
  return { url: null, connect: async () => store, stop: async () => {} }
}

async function onSqlite(): Promise<Engine> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-lifecycle-'))
  return connections(join(folder, 'sessions.db'), async () => rmSync(folder, { recursive: true }))
}

async function onRedis(): Promise<Engine> {
  const server = await startRedis()
  return connections(server.url, () => server.stop())
}

function connections(url: string, stop: () => Promise<void>): Engine {
  const closings: (() => void)[] = []
  return {
    url,
    async connect() {
      const { store, close } = await storeOf(url)
      closings.push(close)
      return store
    },
    async stop() {
      for (const close of closings) close()
      await stop()
    },
  }
}

for (const [name, start] of Object.entries({ memory: inMemory, sqlite: onSqlite, redis: onRedis })) {
  describe(`on ${name}`, () => {
    let engine: Engine
    let stores: Store[]
    let users = 0
    before(async () => {
      engine = await start()
      stores = await Promise.all([engine.connect(), engine.connect(), engine.connect()])
    })
    after(() => engine.stop())

    /** Three services on the one engine. */
    const services = (o: Partial<SessionsOptions<never>> = {}) =>
      stores.map((store) => createSessions({ deadline: '10s', ...o, store }) as Sessions<Data>)
    /** Nobody has used this id before, not even in a server that outlives the tests. */
    const newUser = () => `user-${process.pid}-${Date.now()}-${users++}`

    test('fifty changes at once from three services are all kept', async () => {
      const all = services()
      const { token } = await all[0]!.start(newUser())
      const open = await Promise.all(Array.from({ length: 50 }, (_, i) => all[i % 3]!.open(token)))
      await Promise.all(
        open.map((session, i) => session.update(`section${i % 2}`, (list) => [...((list as number[]) ?? []), i])),
      )
      const session = await all[1]!.open(token)
      const kept = [
        ...((await session.read('section0')) as number[]),
        ...((await session.read('section1')) as number[]),
      ]
      assert.deepEqual(
        kept.toSorted((a, b) => a - b),
        Array.from({ length: 50 }, (_, i) => i),
      )
    })

    test('changes from several processes are all kept', async (t) => {
      if (engine.url === null) return t.skip('the memory of one process')
      const { url } = engine
      const [sessions] = services()
      const { token } = await sessions!.start(newUser())
      await Promise.all(
        Array.from({ length: 3 }, () => run(new URL('./processes/updates.ts', import.meta.url), [url, token, '20'])),
      )
      assert.equal(await (await sessions!.open(token)).read('count'), 60)
    })

    test('a signed-out session never comes back, however slow the requests that still use it', async () => {
      const all = services()
      for (let round = 0; round < 20; round++) {
        const userId = newUser()
        const { token } = await all[0]!.start(userId)
        const open = await Promise.all(Array.from({ length: 6 }, (_, i) => all[i % 3]!.open(token)))
        const saves = open.map((session, i) => session.update('count', () => i).catch(unlessGone))
        await open[round % 6]!.end()
        assert.equal((await all[1]!.open(token)).refused, 'unknown')
        await Promise.all(saves)
        for (const sessions of all) assert.equal((await sessions.open(token)).refused, 'unknown')
        assert.deepEqual(await all[2]!.list(userId), [])
      }
    })

    test('what was acknowledged while the user signed in is there afterwards', async () => {
      const all = services()
      for (let round = 0; round < 20; round++) {
        const guest = await all[0]!.start(null)
        const open = await Promise.all(Array.from({ length: 6 }, (_, i) => all[i % 3]!.open(guest.token)))
        const signingIn = (await all[1]!.open(guest.token)).signIn(newUser())
        const acknowledged = new Set<number>()
        const writes = open.map(async (session, i) => {
          const answer = await session.update('cart', (items) => [...((items as number[]) ?? []), i]).catch(unlessGone)
          if (answer !== null) acknowledged.add(i)
        })
        const { token } = await signingIn
        await Promise.all(writes)
        const kept = ((await (await all[2]!.open(token)).read('cart')) as number[]) ?? []
        assert.deepEqual(new Set(kept), acknowledged)
        assert.equal((await all[2]!.open(guest.token)).refused, 'unknown')
      }
    })

    test('of fifty sign-ins at once the limit is left, and the others were ended', async () => {
      const all = services({ limit: { perUser: 3, whenReached: 'end-oldest' } })
      const userId = newUser()
      const attempts = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => all[i % 3]!.start(userId)))
      for (const attempt of attempts) {
        // One that newer ones ended before it was complete says so.
        if (attempt.status === 'rejected') assert.ok(attempt.reason instanceof SessionGoneError, String(attempt.reason))
      }
      const started = attempts.filter((attempt) => attempt.status === 'fulfilled').map(({ value }) => value)
      const alive = (await Promise.all(started.map(({ token }) => all[0]!.open(token)))).filter(({ id }) => id !== null)
      assert.equal((await all[1]!.list(userId)).length, 3)
      assert.equal(alive.length, 3)
    })

    test('of fifty sign-ins at once never more than the limit are let in', async () => {
      const all = services({ limit: { perUser: 3, whenReached: 'refuse' } })
      const userId = newUser()
      const attempts = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => all[i % 3]!.start(userId)))
      const accepted = attempts.filter((attempt) => attempt.status === 'fulfilled')
      for (const attempt of attempts)
        if (attempt.status === 'rejected') assert.ok(attempt.reason instanceof LimitError, String(attempt.reason))
      assert.ok(accepted.length <= 3)
      assert.deepEqual(
        new Set((await all[1]!.list(userId)).map(({ id }) => id)),
        new Set(accepted.map(({ value }) => value.session.id)),
      )
    })

    test('one after the other, exactly the limit fits; an ended one makes room', async () => {
      const all = services({ limit: { perUser: 3, whenReached: 'refuse' } })
      const userId = newUser()
      const started = []
      for (let i = 0; i < 3; i++) started.push(await all[i]!.start(userId))
      await assert.rejects(all[0]!.start(userId), (error) => error instanceof LimitError && error.statusCode === 429)
      await all[1]!.end(started[0]!.session.id!)
      await all[2]!.start(userId)
      await assert.rejects(all[0]!.start(userId), LimitError)
      assert.equal((await all[0]!.list(userId)).length, 3)
    })

    test('a user at the limit may sign in again on the same device', async () => {
      const [sessions] = services({ limit: { perUser: 1, whenReached: 'refuse' } })
      const userId = newUser()
      const laptop = browser(sessions!)
      await (await laptop.visit()).signIn(userId)
      await (await laptop.visit()).signIn(userId, { amr: ['pwd'] })
      assert.equal((await laptop.visit()).userId, userId)
    })
  })
}

async function run(program: URL, args: readonly string[]): Promise<void> {
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--disable-warning=ExperimentalWarning', fileURLToPath(program), ...args],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  )
  const [code] = await once(child, 'close')
  assert.equal(code, 0)
}

function unlessGone(error: unknown): null {
  assert.ok(error instanceof SessionGoneError, String(error))
  return null
}

test('a refusal at the limit changes nothing: the guest keeps cookie and cart', async () => {
  const { browser, sessions, events } = system({ limit: { perUser: 1, whenReached: 'refuse' } })
  await sessions.start('ada')
  const guest = browser()
  await (await guest.visit()).update('cart', () => ['tea'])
  const { token } = guest
  const session = await guest.visit()
  await assert.rejects(session.signIn('ada'), LimitError)
  assert.equal(guest.token, token)
  assert.equal(session.userId, null)
  assert.deepEqual(await (await guest.visit()).read('cart'), ['tea'])
  assert.equal((await sessions.list('ada')).length, 1)
  assert.equal(events.filter(({ type }) => type === 'limit-reached').length, 1)
})

test('end-oldest ends the one created first, and says why', async () => {
  const { sessions, clock, events } = system({ limit: { perUser: 2, whenReached: 'end-oldest' } })
  const first = await sessions.start('ada')
  clock.advance('1m')
  const second = await sessions.start('ada')
  clock.advance('1m')
  await sessions.open(second.token)
  const third = await sessions.start('ada')
  assert.deepEqual(
    (await sessions.list('ada')).map(({ id }) => id),
    [third.session.id, second.session.id],
  )
  const ended = events.find(({ type }) => type === 'ended')
  assert.deepEqual(ended, { type: 'ended', ids: [first.session.id], userId: 'ada', reason: 'limit' })
})

test('guests have no limit', async () => {
  const calls: (keyof Store)[] = []
  const { sessions } = system({ limit: { perUser: 1, whenReached: 'refuse' } }, counting(calls))
  const guests = await Promise.all(Array.from({ length: 5 }, () => sessions.start(null)))
  for (const { token } of guests) assert.notEqual((await sessions.open(token)).id, null)
  assert.ok(!calls.includes('listByUser'))
})

test('two sign-ins that gave way to each other try again, and one gets in', async (t) => {
  let turns = 0
  t.mock.method(Math, 'random', () => (turns++ % 2 === 0 ? 0 : 0.99))
  const { sessions } = system({ limit: { perUser: 1, whenReached: 'refuse' } })
  const attempts = await Promise.allSettled([sessions.start('ada'), sessions.start('ada')])
  assert.deepEqual(attempts.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
})

for (const whenReached of ['end-oldest', 'refuse'] as const) {
  test(`whatever the order of sign-ins, '${whenReached}' leaves no more than the limit`, async (t) => {
    // Those who give way wait before they try again; here the scheduler decides who comes first.
    t.mock.method(globalThis, 'setTimeout', (run: () => void) => queueMicrotask(run))
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 2 }), async (s, perUser) => {
        const { sessions } = system({ limit: { perUser, whenReached } }, (store) =>
          around(store, async (call, run) => {
            await s.schedule(Promise.resolve(), `${call} arrives`)
            const answer = await run()
            await s.schedule(Promise.resolve(), `${call} is answered`)
            return answer
          }),
        )
        const attempts = Promise.allSettled(Array.from({ length: 4 }, () => sessions.start('ada')))
        const accepted = (await s.waitFor(attempts)).filter(({ status }) => status === 'fulfilled').length
        const alive = (await s.waitFor(sessions.list('ada'))).length
        assert.ok(alive <= perUser, `${alive} alive`)
        if (whenReached === 'refuse') assert.equal(alive, accepted)
        else assert.equal(alive, perUser)
      }),
      { numRuns: 50 },
    )
  })
}

test('a beginning that fails half-way does not fill the limit', async () => {
  let failing = false
  const { sessions, store } = system({ limit: { perUser: 1, whenReached: 'refuse' } }, (inner) => {
    let lists = 0
    return around(inner, (call, run) => {
      if (failing && call === 'listByUser' && ++lists > 1) return Promise.reject(new Error('connection lost'))
      return run()
    })
  })
  failing = true
  await assert.rejects(sessions.start('ada'))
  failing = false
  assert.deepEqual(await store.listByUser('ada'), [])
  await sessions.start('ada')
})

test('a session that was opened may be used by several requests at once', async () => {
  const { browser } = system()
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const requests: Session<Data>[] = await Promise.all(Array.from({ length: 20 }, () => owner.visit()))
  assert.ok(requests.every(({ userId }) => userId === 'ada'))
})
