// Sessions as a whole: opening, listing and ending them, time, and what is said about it.
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
import { around, browser as browserOf, counting, exchange, fakeRandom, settled, stayAwake, system } from './fixtures.ts'

const awake = stayAwake()
after(() => awake.sleep())

const cart = z.array(z.string()).default([])
const minute = 60_000

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

// Time

test('idle and absolute end hold together, at the millisecond', async () => {
  const { browser, clock, store } = system({ lifetime: { idle: '30m', absolute: '1h' } })
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  const end = clock.now() + 60 * minute
  for (let i = 0; i < 2; i++) {
    clock.advance('29m')
    assert.equal((await owner.visit()).userId, 'ada')
    await settled()
    assert.equal((await store.get(session.id!))!.expiresAt, Math.min(clock.now() + 30 * minute, end))
  }
  clock.advance('119999ms')
  assert.equal((await owner.visit()).userId, 'ada', 'one millisecond before the absolute end')
  clock.advance('1ms')
  assert.equal((await owner.visit()).userId, null)
})

test('a session nobody uses ends at its idle end', async () => {
  const { browser, clock } = system({ lifetime: { idle: '30m', absolute: '1h' } })
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const thief = owner.copy()
  clock.advance('1799999ms')
  assert.equal((await thief.visit()).userId, 'ada')
  clock.advance('1ms')
  assert.notEqual((await owner.visit()).id, null, 'the visit before extended it')
  clock.advance('30m')
  assert.equal((await owner.visit()).userId, null)
})

test('a session that a store with a slower clock still has is refused all the same', async () => {
  let storeTime = 0
  const { browser, clock } = system({
    store: memoryStore({ clock: { now: () => storeTime } }),
    lifetime: { idle: '30m', absolute: '1h' },
  })
  const owner = browser()
  storeTime = clock.now()
  await (await owner.visit()).signIn('ada')
  clock.advance('30m')
  assert.equal((await owner.visit()).refused, 'expired')
})

test('touches are coalesced: one write per tenth of the idle time, not waited for', async () => {
  const calls: (keyof Store)[] = []
  const { browser, clock } = system({ lifetime: { idle: '30m', absolute: '12h' } }, counting(calls))
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  calls.length = 0
  for (let i = 0; i < 30 * 60; i++) {
    clock.advance('1s')
    assert.equal((await owner.visit()).userId, 'ada')
    await settled()
  }
  assert.equal(calls.filter((call) => call === 'put').length, 10)
})

test('opening does not wait for the touch, and an update after it does not conflict with it', async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  let puts = 0
  const { browser, clock } = system({ data: { cart } }, (store) =>
    around(store, async (call, run) => {
      if (call === 'put' && ++puts === 2) await held
      return run()
    }),
  )
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  clock.advance('5m')
  const session = await owner.visit()
  assert.equal(session.userId, 'ada')
  assert.equal(puts, 2)
  const update = session.update('cart', () => ['tea'])
  release()
  assert.deepEqual(await update, ['tea'])
  assert.equal(puts, 3)
})

test('a touch that fails is observed, and costs the request nothing', async () => {
  let down = false
  const { browser, clock, events } = system({ data: { cart } }, (store) =>
    around(store, (call, run) => (call === 'put' && down ? Promise.reject(new Error('no')) : run())),
  )
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  clock.advance('5m')
  down = true
  const session = await owner.visit()
  await settled()
  assert.deepEqual(events.filter(({ type }) => type === 'touch-failed').length, 1)
  down = false
  assert.deepEqual(await session.update('cart', () => ['tea']), ['tea'])
})

test('a touch that arrives after the sign-out does not bring the session back', async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  let puts = 0
  const { browser, clock, sessions } = system({}, (store) =>
    around(store, async (call, run) => {
      if (call === 'put' && ++puts === 2) await held
      return run()
    }),
  )
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  clock.advance('5m')
  const touching = await owner.visit()
  await sessions.end(touching.id!)
  release()
  await settled()
  assert.equal((await owner.visit()).refused, 'unknown')
})

test('a new authentication begins both limits anew', async () => {
  const { browser, clock } = system({ lifetime: { idle: '30m', absolute: '40m' } })
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  clock.advance('29m')
  await session.signIn('ada', { amr: ['pwd'] })
  assert.equal(session.expiresAt, clock.now() + 30 * minute)
  clock.advance('29m')
  assert.equal((await owner.visit()).userId, 'ada')
})

test('only a remembered session has a cookie with an age, and longer limits', async () => {
  const remember = { idle: '14d', absolute: '90d' } as const
  const { browser, clock } = system({ lifetime: { idle: '30m', absolute: '12h', remember } })
  const [stays, goes] = [browser(), browser()]
  await (await stays.visit()).signIn('ada', { remember: true })
  await (await goes.visit()).signIn('ada', { remember: false })
  assert.match(stays.lines[0]!, /; Max-Age=7776000$/)
  assert.doesNotMatch(goes.lines[0]!, /Max-Age|Expires/i)
  clock.advance('30m')
  assert.equal((await goes.visit()).userId, null)
  clock.advance('13d')
  assert.equal((await stays.visit()).userId, 'ada')
})

test('a step-up of a remembered session stays remembered', async () => {
  const remember = { idle: '14d', absolute: '90d' } as const
  const { browser } = system({ lifetime: { idle: '30m', absolute: '12h', remember } })
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada', { remember: true })
  await session.signIn('ada', { acr: 'aal2' })
  assert.match(owner.lines[1]!, /; Max-Age=7776000$/)
})

test('where nothing is configured nobody is remembered', async () => {
  const { browser } = system()
  const session = await browser().visit()
  await assert.rejects(
    session.signIn('ada', { remember: true }),
    (error) => error instanceof ConfigError && /lifetime\.remember/.test(error.message),
  )
  assert.equal(session.userId, null)
})

test('after `remember` was taken out of the configuration no new cookie has an age', async () => {
  const remember = { idle: '14d', absolute: '90d' } as const
  const before = system({ lifetime: { idle: '30m', absolute: '12h', remember } })
  const owner = before.browser()
  await (await owner.visit()).signIn('ada', { remember: true })
  const after = system({
    store: before.store,
    now: before.clock.now,
    random: fakeRandom(2),
    lifetime: { idle: '30m', absolute: '12h' },
  })
  const later = browserOf(after.sessions, owner.cookies)
  await (await later.visit()).signIn('ada', { acr: 'aal2' })
  assert.doesNotMatch(later.lines[0]!, /Max-Age/)
})

test('tightened limits end the sessions that exist, in every view of them', async () => {
  const before = system({ lifetime: { idle: '12h', absolute: '30d' } })
  const owner = before.browser()
  const session = await owner.visit()
  await session.signIn('ada')
  const limit = { perUser: 1, whenReached: 'refuse' } as const
  const after = system({
    store: before.store,
    now: before.clock.now,
    lifetime: { idle: '30m', absolute: '1h' },
    limit,
    random: fakeRandom(2),
  })
  before.clock.advance('30m')
  assert.equal((await browserOf(after.sessions, owner.cookies).visit()).refused, 'expired')
  assert.deepEqual(await after.sessions.list('ada'), [])
  assert.equal(await after.sessions.get(session.id!), null)
  await (await after.browser().visit()).signIn('ada')
})

// Without a request

test('a session starts without a request, with data, roles and a device', async () => {
  const { sessions, events, clock } = system({ data: { cart }, roles: { shopper: ['orders:read'] } })
  const { session, token } = await sessions.start('ada', {
    roles: ['shopper'],
    amr: ['pwd'],
    acr: 'aal1',
    claims: { team: 7 },
    data: { cart: ['tea'] },
    client: 'mobile',
    userAgent: 'curl/8.5.0',
    address: '192.0.2.7',
  })
  const again = await sessions.open(token)
  for (const one of [session, again]) {
    assert.equal(one.userId, 'ada')
    assert.equal(one.client, 'mobile')
    assert.equal(one.authenticatedAt, clock.now())
    assert.deepEqual(one.claims, { team: 7 })
    assert.deepEqual(await one.read('cart'), ['tea'])
    assert.equal(one.device!.label, 'curl 8')
    assert.equal(one.can('orders:read'), true)
  }
  assert.deepEqual(
    events.map(({ type }) => type),
    ['started', 'signed-in'],
  )
})

test('a guest starts without a request too, and signs in by token', async () => {
  const { sessions } = system({ data: { cart }, transport: bearerTransport() })
  const guest = await sessions.start(null, { data: { cart: ['tea'] } })
  const request = exchange({ headers: { authorization: `Bearer ${guest.token}` } })
  const session = await sessions.open(request)
  assert.equal(session.userId, null)
  const { token } = await session.signIn('ada')
  assert.deepEqual(request.setCookies, [])
  assert.equal((await sessions.open(guest.token)).refused, 'unknown')
  const signedIn = await sessions.open(token)
  assert.equal(signedIn.userId, 'ada')
  assert.deepEqual(await signedIn.read('cart'), ['tea'])
})

test('an anonymous request without a cookie transport can not become a guest by itself', async () => {
  const { sessions, store } = system({ transport: bearerTransport() })
  const session = await sessions.open(exchange())
  await assert.rejects(
    session.update('a', () => 1),
    /start\(null\)/,
  )
  await assert.rejects(
    (await sessions.open('')).update('a', () => 1),
    /start\(null\)/,
  )
  assert.deepEqual((await (store as ReturnType<typeof memoryStore>).scan({ limit: 10 })).records, [])
})

// Listing and ending

test('a user sees their sessions, newest first, with device, last use and which one is this', async () => {
  const { browser, sessions, clock } = system()
  const [laptop, phone] = [browser(), browser()]
  const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'
  const one = await laptop.visit({ headers: { 'user-agent': firefox }, address: '192.0.2.1' })
  await one.signIn('ada', { amr: ['pwd'] })
  const startedAt = clock.now()
  clock.advance('10m')
  const two = await phone.visit()
  await two.signIn('ada')
  await (await browser().visit()).signIn('bob')
  await laptop.visit()
  await settled()
  const list = await sessions.list('ada', { current: one.id })
  assert.deepEqual(
    list.map(({ id, current }) => ({ id, current })),
    [
      { id: two.id, current: false },
      { id: one.id, current: true },
    ],
  )
  assert.deepEqual(list[1], {
    id: one.id,
    current: true,
    device: { browser: 'Firefox 128', system: 'Linux', label: 'Firefox 128 on Linux', address: '192.0.2.1' },
    amr: ['pwd'],
    createdAt: startedAt,
    seenAt: clock.now(),
    expiresAt: clock.now() + 30 * minute,
  })
  assert.ok((await sessions.list('ada')).every(({ current }) => !current))
  assert.deepEqual(await sessions.list('nobody'), [])
})

test('a user ends the others and stays', async () => {
  const { browser, sessions, events } = system()
  const browsers = [browser(), browser(), browser()] as const
  for (const one of browsers) await (await one.visit()).signIn('ada')
  const other = browser()
  await (await other.visit()).signIn('bob')
  const here = await browsers[0].visit()
  assert.equal(await sessions.endUser('ada', { except: here.id }), 2)
  assert.equal((await browsers[0].visit()).userId, 'ada')
  assert.equal((await browsers[1].visit()).refused, 'unknown')
  assert.equal((await browsers[2].visit()).refused, 'unknown')
  assert.equal((await other.visit()).userId, 'bob')
  const ended = events.at(-3)
  assert.ok(ended?.type === 'ended' && ended.ids.length === 2 && ended.userId === 'ada' && ended.reason === 'ended')
  assert.equal(await sessions.endUser('ada'), 1)
  assert.equal(await sessions.endUser('ada'), 0)
})

test('one session is looked at and ended by its id', async () => {
  const { sessions } = system()
  const { session } = await sessions.start('ada')
  assert.equal((await sessions.get(session.id!))!.userId, 'ada')
  assert.equal(await sessions.end(session.id!), true)
  assert.equal(await sessions.end(session.id!), false)
  assert.equal(await sessions.get(session.id!), null)
})

test('what is no session id is looked for nowhere', async () => {
  const calls: (keyof Store)[] = []
  const { sessions } = system({}, counting(calls))
  for (const id of [
    '',
    'x',
    'a\0',
    '../../etc',
    '\ud800',
    'a'.repeat(10_000),
    `${'a'.repeat(22)}.${'b'.repeat(43)}`,
    '*',
    "' OR 1=1 --",
  ]) {
    assert.equal(await sessions.get(id), null)
    assert.equal(await sessions.end(id), false)
  }
  assert.deepEqual(calls, [])
})

test('what can be no user id is an error of the caller, not of the store', async () => {
  const calls: (keyof Store)[] = []
  const { sessions } = system({}, counting(calls))
  for (const userId of ['', 'a\0', '\ud800', 'a'.repeat(257)]) {
    await assert.rejects(sessions.list(userId), TypeError)
    await assert.rejects(sessions.endUser(userId), TypeError)
    await assert.rejects(sessions.setRoles(userId, []), TypeError)
    await assert.rejects(sessions.start(userId), TypeError)
  }
  assert.deepEqual(calls, [])
})

test('changed roles hold from the next request on, with a new epoch, and touch nothing else', async () => {
  const { browser, sessions, store, events } = system({ data: { cart }, roles: { clerk: ['orders:*'] } })
  const [one, two] = [browser(), browser()]
  for (const each of [one, two]) await (await each.visit()).signIn('ada', { roles: ['clerk'], claims: { team: 1 } })
  const session = await one.visit()
  await session.update('cart', () => ['tea'])
  const before = (await store.get(session.id!))!
  assert.equal(await sessions.setRoles('ada', []), 2)
  assert.equal(session.can('orders:write'), true, 'what was opened before keeps its view')
  const after = (await store.get(session.id!))!
  assert.equal(after.epoch, before.epoch + 1)
  assert.deepEqual(
    [after.data, after.createdAt, after.seenAt, after.credential],
    [before.data, before.createdAt, before.seenAt, before.credential],
  )
  for (const each of [one, two]) {
    const next = await each.visit()
    assert.equal(next.can('orders:write'), false)
    assert.deepEqual(next.claims, { team: 1 })
  }
  assert.equal(events.filter(({ type }) => type === 'roles-changed').length, 2)
  assert.equal(await sessions.setRoles('nobody', ['clerk']), 0)
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
