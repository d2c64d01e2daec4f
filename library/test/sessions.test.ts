// Sessions as a whole: opening them, an outage, options, and what is said about it.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import * as z from 'zod'
import {
  bearerTransport,
  ConfigError,
  cookieTransport,
  createSessions,
  CrossSiteError,
  StoreUnavailableError,
  type SessionsOptions,
  type Store,
} from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { around, counting, exchange, stayAwake, system } from './fixtures.ts'

const awake = stayAwake()
after(() => awake.sleep())

const cart = z.array(z.string()).default([])

// Opening

test('what opens a session is answered with what caches must know', async () => {
  const { browser, sessions } = system()
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const request = exchange({ method: 'GET', cookies: owner.cookies })
  assert.equal((await sessions.open(request)).userId, 'ada')
  assert.deepEqual(request.reads, ['cookie'])
  assert.deepEqual(request.setCookies, [])
})

test('signing in says so too, and an anonymous request says nothing', async () => {
  const { sessions } = system()
  const request = exchange()
  const session = await sessions.open(request)
  assert.deepEqual(request.reads, [])
  await session.signIn('ada')
  assert.deepEqual(request.reads, ['cookie'])
  assert.equal(request.setCookies.length, 1)
})

test('anonymous requests and malformed credentials never touch the store', async () => {
  const calls: (keyof Store)[] = []
  const { sessions, events } = system({ transport: [cookieTransport(), bearerTransport()] }, counting(calls))
  const token = 'a'.repeat(22) + '.' + 'b'.repeat(43)
  for (const headers of [
    {},
    { cookie: 'a=b' },
    { cookie: '__Host-session=' },
    { cookie: `__Host-session="${token}"` },
    { cookie: `__Host-session=${token}x` },
    { cookie: `__Host-session=${token}; __Host-session=${token}` },
    { cookie: `__Host-session=${'x'.repeat(8000)}` },
    { cookie: `__host-session=${token}` },
    { authorization: 'Basic YTpi' },
    { authorization: `Bearer ${token}, Bearer ${token}` },
    { authorization: `Bearer ${token}`, cookie: `__Host-session=${token}` },
  ]) {
    const session = await sessions.open(exchange({ headers }))
    assert.equal(session.id, null, JSON.stringify(headers))
  }
  assert.deepEqual(calls, [])
  assert.deepEqual(
    events.map((event) => event.type === 'refused' && event.reason),
    ['malformed', 'malformed', 'malformed', 'duplicate', 'malformed', 'malformed', 'duplicate'],
  )
})

test('one call to the store opens a session', async () => {
  const calls: (keyof Store)[] = []
  const { browser } = system({ data: { cart } }, counting(calls))
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  calls.length = 0
  const session = await owner.visit()
  await session.read('cart')
  assert.deepEqual(calls, ['get'])
})

test('an id that was never issued is not adopted: the guest that follows gets another one', async () => {
  const { browser, events } = system()
  const guest = browser()
  const planted = 'planted-planted-plante'
  guest.cookies.set('__Host-session', `${planted}.${'s'.repeat(43)}`)
  const session = await guest.visit()
  assert.equal(session.refused, 'unknown')
  assert.deepEqual(events, [{ type: 'refused', id: planted, reason: 'unknown' }])
  await session.update('a', () => 1)
  assert.notEqual(session.id, planted)
  assert.ok(!guest.token!.includes(planted))
})

test('the right id with the wrong secret opens nothing, and says so', async () => {
  const { browser, sessions, events } = system()
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const [id] = owner.token!.split('.') as [string]
  const session = await sessions.open(`${id}.${'x'.repeat(43)}`)
  assert.equal(session.userId, null)
  assert.equal(session.refused, 'mismatch')
  assert.deepEqual(events.at(-1), { type: 'refused', id, reason: 'mismatch' })
  assert.equal((await owner.visit()).userId, 'ada')
})

test('a credential counts only where its transport looks for it', async () => {
  const { browser, sessions } = system()
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const token = owner.token!
  for (const headers of [
    { authorization: `Bearer ${token}` },
    { 'x-session': token },
    { cookie: `session=${token}` },
  ]) {
    assert.equal((await sessions.open(exchange({ headers }))).id, null)
  }
  const bearers = createSessions({ store: memoryStore(), transport: bearerTransport() })
  const started = await bearers.start('ada')
  assert.equal((await bearers.open(exchange({ headers: { cookie: `__Host-session=${started.token}` } }))).id, null)
  assert.equal((await bearers.open(exchange({ headers: { authorization: `Bearer ${started.token}` } }))).userId, 'ada')
})

test('a browser that sends two session cookies has no session, and the event says why', async () => {
  const { browser, sessions, events } = system()
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const cookie = `__Host-session=${owner.token}; __Host-session=${owner.token}`
  const session = await sessions.open(exchange({ headers: { cookie } }))
  assert.equal(session.refused, 'duplicate')
  assert.deepEqual(events.at(-1), { type: 'refused', id: null, reason: 'duplicate' })
})

test('a request that changes something is refused from another site before the store is asked', async () => {
  const calls: (keyof Store)[] = []
  const { browser, sessions } = system({ trustedOrigins: ['https://accounts.example'] }, counting(calls))
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  calls.length = 0
  for (const site of ['cross-site', 'same-site']) {
    await assert.rejects(
      owner.visit({ headers: { 'sec-fetch-site': site } }),
      (error) => error instanceof CrossSiteError && error.statusCode === 403,
    )
    await assert.rejects(sessions.open(exchange({ headers: { 'sec-fetch-site': site } })), CrossSiteError, 'login CSRF')
  }
  assert.deepEqual(calls, [])
  assert.equal((await owner.visit({ method: 'GET', headers: { 'sec-fetch-site': 'cross-site' } })).userId, 'ada')
  const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://accounts.example' }
  assert.equal((await owner.visit({ headers })).userId, 'ada')
})

test('bearer tokens come from anywhere: no browser sends them by itself', async () => {
  const sessions = createSessions({ store: memoryStore(), transport: [bearerTransport(), cookieTransport()] })
  const { token } = await sessions.start('ada')
  const foreign = { 'sec-fetch-site': 'cross-site', origin: 'https://app.example' }
  assert.equal(
    (await sessions.open(exchange({ headers: { ...foreign, authorization: `Bearer ${token}` } }))).userId,
    'ada',
  )
  await assert.rejects(
    sessions.open(exchange({ headers: { ...foreign, cookie: `__Host-session=${token}` } })),
    CrossSiteError,
  )
})

test('where only bearer tokens are taken, nothing is cross-site, not even a sign-in', async () => {
  const sessions = createSessions({ store: memoryStore(), transport: bearerTransport() })
  const foreign = exchange({ headers: { 'sec-fetch-site': 'cross-site', origin: 'https://app.example' } })
  const { token } = await (await sessions.open(foreign)).signIn('ada')
  assert.equal((await sessions.open(token)).userId, 'ada')
})

test('a cookie and a bearer token together are no session, and still cross-site', async () => {
  const sessions = createSessions({ store: memoryStore(), transport: [cookieTransport(), bearerTransport()] })
  const { token } = await sessions.start('ada')
  const both = { authorization: `Bearer ${token}`, cookie: `__Host-session=${token}` }
  const session = await sessions.open(exchange({ headers: both }))
  assert.equal(session.refused, 'duplicate')
  await assert.rejects(
    sessions.open(exchange({ headers: { ...both, 'sec-fetch-site': 'cross-site' } })),
    CrossSiteError,
  )
})

// An outage

test('while the store is down nobody is signed out, nothing hangs and nobody is let in', async () => {
  let down = false
  const { browser, sessions, events, clock } = system({ deadline: '20ms', data: { cart } }, (store) =>
    around(store, (_, run) => (down ? new Promise(() => {}) : run())),
  )
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const session = await owner.visit()
  const { token } = owner
  down = true
  const unavailable = (error: unknown) =>
    error instanceof StoreUnavailableError && error.statusCode === 503 && error.retryAfterMs > 0
  for (const call of [
    () => owner.visit(),
    () => session.update('cart', () => ['tea']),
    () => session.signIn('ada'),
    () => session.end(),
    () => sessions.list('ada'),
    () => sessions.endUser('ada'),
    () => sessions.setRoles('ada', []),
    () => sessions.get(session.id!),
    () => sessions.start('ada'),
  ]) {
    await assert.rejects(call, unavailable)
  }
  assert.equal(owner.token, token)
  assert.equal(owner.lines.length, 1)
  assert.equal(session.userId, 'ada')
  assert.equal((await browser().visit()).userId, null)
  assert.deepEqual(await session.read('cart'), [])
  down = false
  clock.advance('1s')
  assert.equal((await owner.visit()).userId, 'ada')
  assert.deepEqual(
    events.filter(({ type }) => type.startsWith('store-')).map(({ type }) => type),
    ['store-down', 'store-up'],
  )
})

test('a sign-in whose answers are lost on the way leaves one session that works', async () => {
  let losing = false
  let lost = 0
  const { browser, sessions } = system({}, (store) =>
    around(store, async (call, run) => {
      const answer = await run()
      if (losing && call === 'put' && ++lost) throw new Error('connection lost')
      return answer
    }),
  )
  const owner = browser()
  const session = await owner.visit()
  await session.update('a', () => 1)
  losing = true
  await session.signIn('ada')
  assert.equal(lost, 2)
  assert.equal((await owner.visit()).userId, 'ada')
  assert.equal((await sessions.list('ada')).length, 1)
})

// Options

test('options that can not work are refused when sessions are made, by name', () => {
  const store = memoryStore()
  const refused: readonly [Partial<SessionsOptions<never>>, RegExp][] = [
    [{ store: undefined as never }, /store: required/],
    [{ store: {} as never }, /store: required/],
    [{ limit: { perUser: 0, whenReached: 'refuse' } }, /limit\.perUser/],
    [{ limit: { perUser: 1.5, whenReached: 'refuse' } }, /limit\.perUser/],
    [{ limit: { perUser: 1, whenReached: 'later' as 'refuse' } }, /limit\.whenReached/],
    [{ maxDataBytes: 1 }, /maxDataBytes/],
    [{ maxDataBytes: Number.NaN }, /maxDataBytes/],
    [{ lifetime: { idle: '1h', absolute: '1m' } }, /lifetime/],
    [{ deadline: '0ms' }, /deadline/],
    [{ transport: [] }, /transport/],
    [{ roles: { a: ['*:b'] } }, /roles/],
    [{ trustedOrigins: ['accounts.example'] }, /trustedOrigins/],
    [{ trustedOrigins: ['https://accounts.example/'] }, /trustedOrigins/],
    [{ trustedOrigins: ['*'] }, /trustedOrigins/],
    [{ trustedOrigins: ['null'] }, /trustedOrigins/],
  ]
  for (const [options, message] of refused) {
    assert.throws(
      () => createSessions({ store, ...options } as never),
      (error) => error instanceof ConfigError && message.test(error.message),
      String(message),
    )
  }
})

test('an observer that throws changes nothing of what it observes', async (t) => {
  const complaints = t.mock.method(console, 'error', () => {})
  const onEvent = () => {
    throw new Error('mine')
  }
  const { browser } = system({ onEvent })
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  assert.equal((await owner.visit()).userId, 'ada')
  assert.ok(complaints.mock.callCount() > 0)
})

test('an engine without expiry of its own is swept now and then, and a sweep that fails is observed', async () => {
  let sweeps = 0
  const store = Object.assign(memoryStore(), {
    sweep: async () => {
      sweeps++
      throw new Error('no')
    },
  })
  const { sessions, events } = system({ store, now: Date.now })
  for (let i = 0; i < 128; i++) await sessions.start('ada')
  assert.equal(sweeps, 2)
  assert.equal(events.filter(({ type }) => type === 'sweep-failed').length, 2)
})

// Secrets

test('no event, error, stored record or answer to others holds a secret', async () => {
  const told: unknown[] = []
  let failing = false
  const { browser, sessions, clock, events, store } = system(
    { data: { cart }, roles: { a: ['b'] }, limit: { perUser: 3, whenReached: 'end-oldest' } },
    (inner) =>
      around(inner, async (call, run, args) => {
        told.push(args)
        if (failing) throw new Error(`${call} failed: ${JSON.stringify(args)}`)
        return run()
      }),
  )
  const caught = async (run: () => unknown) => {
    try {
      told.push(await run())
    } catch (error) {
      told.push(error, (error as Error).message, (error as Error).stack, (error as Error).cause)
    }
  }
  const owner = browser()
  const tokens = new Set<string>()
  for (let i = 0; i < 5; i++) {
    const device = i === 0 ? owner : browser()
    const session = await device.visit()
    await session.update('cart', () => ['tea'])
    tokens.add(device.token!)
    tokens.add((await session.signIn('ada', { roles: ['a'] })).token)
    await caught(() => session.update('cart', () => [1 as never]))
    await caught(() => session.require('c'))
    await caught(() => session.update('cart', () => ['x'.repeat(70_000)]))
  }
  for (const token of tokens) {
    const [id, secret] = token.split('.') as [string, string]
    for (const bad of [
      `${token}x`,
      secret,
      `${id}.${secret.toUpperCase()}`,
      `${id}.${secret.slice(1)}`,
      `${secret.slice(0, 22)}.${secret}`,
    ]) {
      await caught(() => sessions.open(bad).then(({ id, refused }) => ({ id, refused })))
    }
    await caught(() =>
      sessions
        .open(exchange({ headers: { cookie: `__Host-session=${token}; __Host-session=${token}` } }))
        .then(({ refused }) => refused),
    )
    await caught(() =>
      sessions.open(exchange({ headers: { cookie: `__Host-session=${token}`, 'sec-fetch-site': 'cross-site' } })),
    )
  }
  await caught(() => sessions.list('ada'))
  const session = await browser().visit()
  tokens.add((await session.signIn('ada')).token)
  const id = session.id!
  await caught(() => store.get(id))
  failing = true
  for (const token of tokens) await caught(() => sessions.open(token))
  await caught(() => session.update('cart', () => ['jam']))
  await caught(() => session.signIn('ada'))
  await caught(() => session.end())
  clock.advance('1s')
  told.push(events)
  const text = deepText(told)
  assert.ok(text.length > 10_000)
  for (const token of tokens) assert.ok(!text.includes(token.slice(23)), 'a secret was told')
})

/** Everything that can be seen in a value: own members and those of errors. */
function deepText(value: unknown, seen = new Set<unknown>()): string {
  if (typeof value !== 'object' || value === null) return `${String(value)}\n`
  if (seen.has(value)) return ''
  seen.add(value)
  return Reflect.ownKeys(value)
    .map((key) => `${String(key)}: ${deepText((value as Record<PropertyKey, unknown>)[key], seen)}`)
    .join('')
}
