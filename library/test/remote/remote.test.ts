// What is particular to sessions behind the service: what is asked and what is cached, lost answers, refusals of the client itself.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { after, afterEach, before, describe, it } from 'node:test'
import { ConfigError, connectSessions, ServiceError, type ConnectOptions, type SessionEvent } from 'holdfast'
import { startRedis } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { exchange } from '../fixtures.ts'
import { addClient, clientId, clientSecret, startService, until } from './service.ts'

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

/** Answers a call instead of the service, or passes it on: `next()`. */
type Meddle = (call: string, next: () => Promise<Response>) => Promise<Response>

function connect(o: Partial<ConnectOptions<never>> = {}, meddle: Meddle = (_call, next) => next()) {
  const calls: string[] = []
  const events: SessionEvent[] = []
  const through: typeof fetch = (input, init) => {
    const { pathname } = new URL(String(input))
    if (pathname !== '/v1/feed') calls.push(`${init?.method} ${pathname.replaceAll(/[\w-]{22}/g, '*')}`)
    return meddle(`${init?.method} ${pathname}`, () => fetch(input, init))
  }
  const onEvent = (event: SessionEvent) => void events.push(event)
  const sessions = connectSessions({ url: service.url, clientId, clientSecret, fetch: through, onEvent, ...o })
  opened.push(() => sessions.close())
  return { sessions, calls, events }
}

describe('what is asked', () => {
  it('nothing for a request without a credential, nor for one that can be none', async () => {
    const { sessions, calls } = connect()
    await sessions.open(exchange())
    for (const token of ['', 'x', 'x.y', `${'x'.repeat(22)}.${'y'.repeat(42)}`]) await sessions.open(token)
    assert.deepEqual(calls, [])
  })

  it('once for a session, whoever opens it how often, while the feed is followed', async () => {
    const { sessions, calls } = connect()
    const { token } = await sessions.start('ada')
    await until(() => sessions.status()!.fresh)
    calls.length = 0
    await Promise.all(Array.from({ length: 50 }, () => sessions.open(token)))
    for (let i = 0; i < 50; i++) assert.equal((await sessions.open(token)).userId, 'ada')
    assert.deepEqual(calls, ['POST /v1/sessions/verify'])
  })

  it('at each request, for a client that may not follow the feed, which is said', async () => {
    const { sessions, calls, events } = connect(addClient(redis.url, 'no-feed', 'verify,start'))
    const { token } = await sessions.start('ada')
    await until(() => events.some(({ type }) => type === 'feed-down'))
    const down = events.find((event) => event.type === 'feed-down')
    assert.match(String(down?.cause), /lacks the permission feed/)
    for (let i = 0; i < 3; i++) assert.equal((await sessions.open(token)).userId, 'ada')
    assert.equal(calls.filter((call) => call.endsWith('/verify')).length, 3)
  })

  it('signed tokens are checked here, once their whole life was watched; before that each is asked for once', async () => {
    let ahead = 0
    const { sessions, calls } = connect({ elapsed: () => performance.now() + ahead })
    await until(() => sessions.status()!.fresh)
    const first = await sessions.start('ada', { credential: 'signed' })
    assert.equal((await sessions.open(first.token)).userId, 'ada')
    assert.ok(calls.includes('POST /v1/sessions/verify'))
    ahead = 11 * 60_000
    await until(() => sessions.status()!.fresh)
    const second = await sessions.start('bob', { credential: 'signed' })
    calls.length = 0
    assert.equal((await sessions.open(second.token)).userId, 'bob')
    assert.deepEqual(calls, [])
    const { refused } = await sessions.open(`${second.token.slice(0, -9)}${'A'.repeat(9)}`)
    assert.equal(refused, 'signature')
  })

  it('a session in use never idles out, although its requests are answered from the cache', async () => {
    const idleMs = 2_000
    const short = await startService({ store: redis.url, env: { HOLDFAST_IDLE: `${idleMs}ms` } })
    try {
      const { sessions, calls } = connect({ url: short.url })
      const { token } = await sessions.start('ada')
      const idle = await sessions.start('ada')
      await until(() => sessions.status()!.fresh)
      const from = performance.now()
      let uncached = 0
      for (; performance.now() - from < 2 * idleMs;) {
        if (!sessions.status()!.fresh) uncached++
        assert.equal((await sessions.open(token)).userId, 'ada')
        await sleep(5)
      }
      const asked = calls.filter((call) => call.endsWith('/verify')).length
      const touches = (performance.now() - from) / (idleMs / 10)
      assert.ok(asked <= uncached + 2 * touches, `${asked} calls for ${touches} touches`)
      assert.notEqual((await sessions.open(idle.token)).refused, null)
    } finally {
      await short.stop()
    }
  })

  it('a flood of forged tokens is refused, and shuts nobody out', async () => {
    const { sessions } = connect()
    const { token } = await sessions.start('ada')
    const forged = `${token.slice(0, 22)}.${'A'.repeat(43)}`
    for (let i = 0; i < 40; i++) assert.equal((await sessions.open(forged)).refused, 'mismatch')
    assert.equal((await sessions.open(token)).userId, 'ada')
  })
})

describe('while nothing comes by the feed, and what came is still young enough', () => {
  /** A client whose feed brings nothing more from `hush` on. */
  async function quiet(o: Partial<ConnectOptions<never>> = {}): Promise<ReturnType<typeof connect> & { hush(): void }> {
    let hushed = false
    const never = new Promise<Response>(() => {})
    const client = connect(o, async (call, next) => {
      const response = await next()
      return hushed && call === 'GET /v1/feed' ? never : response
    })
    await until(() => client.sessions.status()!.fresh)
    return Object.assign(client, { hush: () => void (hushed = true) })
  }

  /** Opened once, so that it is cached. */
  async function cached({ sessions, calls }: ReturnType<typeof connect>, userId: string) {
    const started = await sessions.start(userId, { roles: ['old'] })
    await sessions.open(started.token)
    calls.length = 0
    assert.equal((await sessions.open(started.token)).refused, null)
    assert.deepEqual(calls, [])
    return started
  }

  /** What came stays young enough, however busy the machine is. */
  const patiently = { maxStaleness: '20s' } as const

  it('what this process ended is refused by it at once', async () => {
    for (const how of ['end', 'endUser', 'sign-out', 'sign-in'] as const) {
      const client = await quiet(patiently)
      const { sessions } = client
      const userId = `user-${crypto.randomUUID()}`
      const { token, session } = await cached(client, userId)
      client.hush()
      if (how === 'end') await sessions.end(session.id!)
      else if (how === 'endUser') await sessions.endUser(userId)
      else if (how === 'sign-out') await session.end()
      else await session.signIn(userId)
      assert.equal((await sessions.open(token)).refused, 'ended', how)
      assert.ok(sessions.status()!.fresh)
    }
  })

  it('roles that this process changed hold in it at once', async () => {
    const client = await quiet(patiently)
    const userId = `user-${crypto.randomUUID()}`
    const { token } = await cached(client, userId)
    client.hush()
    await client.sessions.setRoles(userId, ['new'])
    assert.deepEqual((await client.sessions.open(token)).roles, ['new'])
    assert.ok(client.sessions.status()!.fresh)
  })

  it('a settled ending is refused by a process that has not heard of it when it resolves', async () => {
    for (const how of ['end', 'endUser'] as const) {
      const client = await quiet()
      const userId = `user-${crypto.randomUUID()}`
      const { token, session } = await cached(client, userId)
      const other = connect().sessions
      client.hush()
      if (how === 'end') await other.end(session.id!, { settled: true })
      else await other.endUser(userId, { settled: true })
      assert.match(String((await client.sessions.open(token)).refused), /^(ended|unknown)$/, how)
    }
  })
})

describe('answers that were lost', () => {
  const lose: (method: string) => Meddle = (method) => async (call, next) => {
    const response = await next()
    if (!call.startsWith(method) || !call.includes('/sessions')) return response
    await response.arrayBuffer()
    throw new TypeError('fetch failed')
  }

  it('a write whose answer was lost is found by reading again', async () => {
    const { sessions, calls } = connect({}, lose('PUT'))
    const { session } = await sessions.start('ada', { data: { visits: 1 } })
    calls.length = 0
    assert.equal(await session.update('visits', (n) => Number(n) + 1), 2)
    assert.deepEqual(
      calls,
      ['GET', 'PUT', 'GET'].map((method) => `${method} /v1/sessions/*/data/visits`),
    )
    assert.equal(await session.read('visits'), 2)
  })

  it('a write that did not arrive is an error, not a success, and fn is not called for a second write', async () => {
    const { sessions } = connect({}, async (call, next) => {
      if (call.startsWith('PUT')) throw new TypeError('fetch failed')
      return next()
    })
    const { session } = await sessions.start('ada', { data: { visits: 1 } })
    let made = 0
    await assert.rejects(
      session.update('visits', (n) => Number(n) + ++made),
      { code: 'store-unavailable' },
    )
    assert.deepEqual([made, await session.read('visits')], [1, 1])
  })

  it('a session whose start was lost is not started again', async () => {
    let lost = true
    const { sessions, calls } = connect({}, async (call, next) => {
      const response = await next()
      if (call !== 'POST /v1/sessions' || !lost) return response
      await response.arrayBuffer()
      throw new TypeError('fetch failed')
    })
    const userId = `user-${crypto.randomUUID()}`
    await assert.rejects(sessions.start(userId), { code: 'store-unavailable' })
    assert.deepEqual(calls, ['POST /v1/sessions'])
    lost = false
    assert.equal((await sessions.list(userId)).length, 1)
  })

  it('an ending whose answer was lost is asked for again, and holds', async () => {
    const { sessions } = connect({}, lose('DELETE'))
    const { session, token } = await sessions.start('ada')
    await assert.rejects(sessions.end(session.id!), { code: 'store-unavailable' })
    assert.notEqual((await sessions.open(token)).refused, null)
  })

  it('a refresh whose answer was lost gives the same successor', async () => {
    let lost = 0
    const { sessions } = connect({}, async (call, next) => {
      const response = await next()
      if (!call.endsWith('/refresh') || ++lost > 1) return response
      await response.arrayBuffer()
      throw new TypeError('fetch failed')
    })
    const { refreshToken } = await sessions.start('ada', { credential: 'signed' })
    const { tokens } = await sessions.refresh(refreshToken!)
    assert.equal(lost, 2)
    assert.equal((await sessions.open(tokens!.token)).userId, 'ada')
  })
})

describe('a client that is refused', () => {
  it('a wrong secret is an error of its own that says what to do, and no user is taken for signed out', async () => {
    const wrong = 'wrong-secret-which-must-not-show'
    const { sessions, events } = connect({ clientSecret: wrong })
    const { token, session } = await connect().sessions.start('ada')
    // So many that the service limits them.
    for (let i = 0; i < 40; i++) {
      await assert.rejects(sessions.open(token), (error) => {
        assert.ok(error instanceof ServiceError)
        assert.equal(error.statusCode, 502)
        return true
      })
    }
    await assert.rejects(connect({ clientSecret: wrong }).sessions.get(session.id!), ServiceError)
    assert.equal((await sessions.open(exchange())).id, null)
    assert.ok(
      !JSON.stringify(events, (_key, value: unknown) => (value instanceof Error ? String(value) : value)).includes(
        wrong,
      ),
    )
  })

  it('says to check the client', async () => {
    const own = await startService({ store: 'memory:' })
    try {
      const { sessions } = connect({ url: own.url, clientSecret: 'x'.repeat(43) })
      await assert.rejects(sessions.start('ada'), {
        name: 'ServiceError',
        message: /check clientId and clientSecret/,
        problem: { status: 401, code: 'invalid-client' },
      })
    } finally {
      await own.stop()
    }
  })

  it('a missing permission is named', async () => {
    const { sessions } = connect(addClient(redis.url, 'verify-only', 'verify,feed'))
    await assert.rejects(sessions.start('ada'), { name: 'ServiceError', message: /lacks the permission start/ })
    const started = await connect().sessions.start('ada')
    const session = await sessions.open(started.token)
    assert.equal(session.userId, 'ada')
    await assert.rejects(session.read('cart'), { name: 'ServiceError', message: /lacks the permission read/ })
    await assert.rejects(session.end(), { name: 'ServiceError', message: /lacks the permission end/ })
  })
})

describe('where it connects to', () => {
  const secret = 's3cret'

  it('only https, or this machine; each wrong option is named, and no secret is in the message', () => {
    for (const [o, expected] of [
      [{ url: 'sessions.internal' }, /^url: /],
      [{ url: 'http://sessions.internal:4000' }, /^url: expected https/],
      [{ url: 'http://127.0.0.1.example' }, /^url: expected https/],
      [{ url: 'ftp://127.0.0.1' }, /^url: expected https/],
      [{ url: `https://ada:${secret}@sessions.internal` }, /^url: /],
      [{ url: 'https://sessions.internal/?a=1' }, /^url: /],
      [{ clientId: 'a:b' }, /^clientId: /],
      [{ clientSecret: `${secret}\n` }, /^clientSecret: /],
      [{ clientSecret: '' }, /^clientSecret: /],
      [{ maxStaleness: '100ms' }, /^maxStaleness: /],
      [{ deadline: '2h' }, /^deadline: /],
      [{ whenServiceIsDown: 'trust' as 'refuse' }, /^whenServiceIsDown: /],
      [{ whenStale: 'trust' as 'refuse' }, /^whenStale: /],
      [{ cache: { maxEntries: -1 } }, /^cache.maxEntries: /],
    ] as const) {
      assert.throws(
        () => connect(o),
        (error: Error) =>
          error instanceof ConfigError && expected.test(error.message) && !error.message.includes(secret),
      )
    }
    for (const url of ['https://sessions.internal/a/', 'http://localhost:1', 'http://[::1]:1', 'http://127.1.2.3:1'])
      connect({ url })
  })

  it('redirects are not followed: the secret goes nowhere else', async () => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url!)
      response.writeHead(request.url === '/elsewhere' ? 200 : 307, { location: '/elsewhere' }).end('{}')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const { sessions } = connect({ url })
    await assert.rejects(sessions.get('A'.repeat(22)), { name: 'ServiceError', message: /redirects are not followed/ })
    sessions.close()
    assert.ok(!asked.includes('/elsewhere'))
    server.closeAllConnections()
    server.close()
  })

  it('what is no session service is said to be none, and an endless answer is cut', async () => {
    let cut = false
    const server = createServer((request, response) => {
      if (request.url === '/v1/sessions/verify') return void response.end('<html>')
      response.on('close', () => (cut = true))
      const more = (): void => void (response.destroyed || response.write('x'.repeat(65_536), () => setImmediate(more)))
      more()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const { sessions } = connect({ url, deadline: '10s' })
    await assert.rejects(sessions.open(`${'A'.repeat(22)}.${'A'.repeat(43)}`), { message: /no session service/ })
    await assert.rejects(sessions.get('A'.repeat(22)), (error: Error) => /longer than/.test(String(error.cause)))
    assert.ok(cut)
    sessions.close()
    server.closeAllConnections()
    server.close()
  })
})
