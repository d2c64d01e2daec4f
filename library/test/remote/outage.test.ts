// While the service or its feed is away: nothing hangs, nobody is let in who should not be, and it comes back by itself.
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { after, afterEach, before, describe, it } from 'node:test'
import { connectSessions, type ConnectOptions, type SessionEvent, type Sessions } from 'holdfast'
import { startRedis } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { exchange, within } from '../fixtures.ts'
import { startProxy, type Proxy } from './proxy.ts'
import { clientId, clientSecret, startService, until } from './service.ts'

const deadlineMs = 500
/** `maxStaleness` of the clients, and of the service. */
const boundMs = 1_000
/** What may come on top of a deadline. */
const slackMs = 700

type AnySessions = Sessions<Record<string, unknown>>

let redis: Server
let service: Server
const opened: (() => void)[] = []

before(async () => {
  redis = await startRedis()
  service = await startService({ store: redis.url })
})
after(async () => {
  await service.stop()
  await redis.stop()
})
afterEach(() => opened.splice(0).forEach((close) => close()))

interface Client {
  readonly sessions: AnySessions
  readonly events: SessionEvent[]
  /** The calls made, such as `POST /v1/sessions/verify`, but for the feed's. */
  readonly calls: string[]
}

/** A client whose feed comes through `feed`, if that is given. Resolves when its view is fresh. */
async function client(o: Partial<ConnectOptions<never>> = {}, feed: Proxy | null = null): Promise<Client> {
  const events: SessionEvent[] = []
  const calls: string[] = []
  const through: typeof fetch = async (input, init) => {
    const url = new URL(String(input))
    if (url.pathname !== '/v1/feed') calls.push(`${init?.method} ${url.pathname}`)
    return fetch(feed !== null && url.pathname === '/v1/feed' ? `${feed.url}${url.pathname}${url.search}` : url, init)
  }
  const onEvent = (event: SessionEvent) => void events.push(event)
  const sessions = connectSessions({ url: service.url, clientId, clientSecret, onEvent, fetch: through, ...o })
  opened.push(() => sessions.close())
  await until(() => sessions.status()!.fresh)
  return { sessions, events, calls }
}

/** Rejects when `call` takes longer than a call may. */
function inTime<T>(call: Promise<T>, calls = 1): Promise<T> {
  return within(calls * deadlineMs * 1.1 + slackMs, call)
}

/** Opens all the time, until it is refused with `expected`; no request is accepted that begins after `boundAt`. */
async function refusedBy(sessions: AnySessions, token: string, boundAt: () => number, expected: RegExp): Promise<void> {
  for (;;) {
    const askedAt = performance.now()
    const answer = await inTime(
      sessions.open(token).then(
        ({ refused }) => refused,
        (error: Error) => error.name,
      ),
    )
    if (answer !== null) return assert.match(answer, expected)
    assert.ok(askedAt <= boundAt(), 'accepted past the bound')
    await sleep(2)
  }
}

const outages = {
  'is stopped (SIGSTOP)': {
    begin: async () => service.pause(),
    end: async () => service.resume(),
  },
  'is killed': {
    begin: () => service.stop(),
    async end() {
      const { port } = service
      service = await startService({ store: redis.url, port })
    },
  },
}

for (const [what, outage] of Object.entries(outages)) {
  describe(`the service ${what}`, () => {
    it('requests without a credential are served, the others are let in until the bound and then get a 503 in time', async () => {
      const { sessions, events } = await client()
      const { token, session } = await sessions.start('ada', { data: { visits: 1 } })
      const fresh = await sessions.start('ada')
      assert.equal((await sessions.open(token)).userId, 'ada')
      await outage.begin()
      const awayAt = performance.now()
      try {
        assert.equal((await sessions.open(exchange())).id, null)
        assert.equal((await sessions.open('x')).refused, 'malformed')
        await assert.rejects(inTime(sessions.open(fresh.token), 2), { code: 'store-unavailable' })
        await refusedBy(sessions, token, () => awayAt + boundMs, /StoreUnavailableError/)
        for (const call of [
          () => session.read('visits'),
          () => session.update('visits', () => 2),
          () => fresh.session.end(),
          () => sessions.start('bob'),
          () => sessions.endUser('nobody'),
          () => sessions.get(session.id!),
        ])
          await assert.rejects(inTime(call(), 3), { code: 'store-unavailable', statusCode: 503 })
      } finally {
        await outage.end()
      }
      await until(async () => (await fetch(`${service.url}/readyz`)).ok)
      const works = async () =>
        (await sessions.open(token)).userId === 'ada' && (await session.update('visits', () => 3)) === 3
      await within(
        1_000 + slackMs,
        until(() => works().catch(() => false)),
      )
      await until(() => sessions.status()!.fresh)
      for (const what of ['feed', 'store']) {
        const said = events.map(({ type }) => type).filter((type) => /-(up|down)$/.test(type) && type.startsWith(what))
        const inTurn = said.map((_, i) => `${what}-${i % 2 === 0 ? 'down' : 'up'}`)
        assert.deepEqual([said, said.at(-1)], [inTurn, `${what}-up`])
      }
    })
  })
}

describe('signed tokens while the service is away', () => {
  for (const [whenServiceIsDown, expected] of [
    ['refuse', 'StoreUnavailableError'],
    ['trust-signed', null],
  ] as const) {
    it(`${whenServiceIsDown}: ${expected ?? 'let in, and said so'}`, async () => {
      const { sessions, events } = await client({ whenServiceIsDown })
      const { token } = await sessions.start('ada', { credential: 'signed' })
      assert.equal((await sessions.open(token)).userId, 'ada')
      service.pause()
      try {
        await until(() => !sessions.status()!.fresh)
        const answer = await inTime(
          sessions.open(token).then(
            ({ refused }) => refused,
            (error: Error) => error.name,
          ),
        )
        assert.equal(answer, expected)
        assert.equal(
          events.some(({ type }) => type === 'trusted-stale'),
          expected === null,
        )
      } finally {
        service.resume()
      }
    })
  }
})

describe('the feed alone', () => {
  for (const fault of ['cut', 'hold'] as const) {
    it(`${fault}: who comes is let in by asking, and whom another process ended is refused within the bound`, async () => {
      const proxy = await startProxy(service.port)
      try {
        const { sessions, events, calls } = await client({}, proxy)
        const other = await client()
        const { token } = await other.sessions.start('ada')
        const ended = await other.sessions.start('bob')
        assert.equal((await sessions.open(ended.token)).userId, 'bob')
        proxy[fault]()
        await other.sessions.end(ended.session.id!)
        const endedAt = performance.now()
        await refusedBy(sessions, ended.token, () => endedAt + boundMs, /^(unknown|ended)$/)
        await until(() => !sessions.status()!.fresh)
        calls.length = 0
        for (let i = 0; i < 3; i++) assert.equal((await sessions.open(token)).userId, 'ada')
        assert.deepEqual(
          calls,
          Array.from({ length: 3 }, () => 'POST /v1/sessions/verify'),
        )
        proxy.mend()
        await until(() => sessions.status()!.fresh)
        calls.length = 0
        for (let i = 0; i < 3; i++) assert.equal((await sessions.open(token)).userId, 'ada')
        assert.deepEqual(calls, ['POST /v1/sessions/verify'].slice(0, calls.length))
        assert.ok(events.some(({ type }) => type === 'feed-down'))
      } finally {
        proxy.close()
      }
    })
  }

  it('a service whose own feed is away does not make a view fresh', async () => {
    const own = await startRedis()
    const behind = await startService({ store: redis.url, env: { HOLDFAST_FEED: own.url } })
    try {
      const { sessions } = await client({ url: behind.url })
      const { token } = await sessions.start('ada')
      assert.equal((await sessions.open(token)).userId, 'ada')
      own.pause()
      const awayAt = performance.now()
      const isBelieved = () => {
        const askedAt = performance.now()
        const { fresh } = sessions.status()!
        assert.ok(!fresh || askedAt <= awayAt + boundMs, 'believed past the bound')
        return fresh
      }
      await until(() => !isBelieved())
      assert.equal((await sessions.open(token)).userId, 'ada')
      own.resume()
      await until(() => sessions.status()!.fresh)
    } finally {
      await behind.stop()
      await own.stop()
    }
  })
})

it('endings under load: no request is accepted that began after the bound', async () => {
  const [ending, asking] = [await client(), await client()]
  const all = await Promise.all(Array.from({ length: 20 }, () => ending.sessions.start('ada')))
  const endedAt = new Map<string, number>()
  const watching = all.map(({ token }) =>
    refusedBy(asking.sessions, token, () => (endedAt.get(token) ?? Infinity) + boundMs, /^(unknown|ended)$/),
  )
  for (const { token, session } of all) {
    await ending.sessions.end(session.id!)
    endedAt.set(token, performance.now())
    assert.notEqual((await ending.sessions.open(token)).refused, null)
  }
  await Promise.all(watching)
})
