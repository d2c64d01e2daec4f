// What a handler can do with the session of its request: begin a guest, update, ask what the user may do.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import {
  AccessError,
  ConflictError,
  CredentialError,
  DataError,
  SessionGoneError,
  type Session,
  type SessionRecord,
  type Store,
} from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { fakeClock } from '../src/testing/clock.ts'
import { around, counting, exchange, settled, system } from './fixtures.ts'

const cart = z.array(z.string()).default([])
const count = z.number().default(0)

// Guests

test('looking at a session begins none: no write, no cookie, no header', async () => {
  const calls: (keyof Store)[] = []
  const { browser, events } = system({ data: { cart } }, counting(calls))
  const guest = browser()
  const session = await guest.visit()
  assert.equal(session.id, null)
  assert.equal(session.userId, null)
  assert.equal(session.refused, null)
  assert.equal(session.expiresAt, null)
  assert.equal(session.device, null)
  assert.deepEqual(await session.read('cart'), [])
  assert.deepEqual(calls, [])
  assert.deepEqual(guest.lines, [])
  assert.deepEqual(events, [])
})

test("a guest's session begins with the first update", async () => {
  const { browser, events } = system({ data: { cart } })
  const guest = browser()
  const session = await guest.visit()
  assert.deepEqual(await session.update('cart', (items) => [...items, 'tea']), ['tea'])
  assert.equal(guest.lines.length, 1)
  assert.equal(session.userId, null)
  assert.equal(session.authenticatedAt, null)
  const again = await guest.visit()
  assert.equal(again.id, session.id)
  assert.deepEqual(await again.read('cart'), ['tea'])
  assert.deepEqual(events, [{ type: 'started', id: session.id, userId: null }])
})

test('two first updates at once begin one session, and both are kept', async () => {
  const { browser, events } = system({ data: { cart } })
  const guest = browser()
  const session = await guest.visit()
  await Promise.all(['tea', 'jam', 'rye'].map((item) => session.update('cart', (items) => [...items, item])))
  assert.equal(events.filter(({ type }) => type === 'started').length, 1)
  assert.equal(guest.lines.length, 1)
  assert.deepEqual((await (await guest.visit()).read('cart')).toSorted(), ['jam', 'rye', 'tea'])
})

test('a first update that fails leaves nothing behind, and the next one begins the session', async () => {
  const calls: (keyof Store)[] = []
  const { browser } = system({ data: { cart } }, counting(calls))
  const guest = browser()
  const session = await guest.visit()
  const failing = session.update('cart', () => [1 as never])
  const following = session.update('cart', () => ['tea'])
  await assert.rejects(failing, DataError)
  assert.deepEqual(await following, ['tea'])
  assert.deepEqual(calls, ['put'])
})

test('when the response has begun, a guest can not begin and a user not sign in; nothing is written', async () => {
  const calls: (keyof Store)[] = []
  const { sessions } = system({ data: { cart } }, counting(calls))
  const late = exchange()
  late.headersSent = true
  const session = await sessions.open(late)
  const undeliverable = (error: unknown) =>
    error instanceof CredentialError && error.reason === 'undeliverable' && error.statusCode === 500
  await assert.rejects(
    session.update('cart', () => ['tea']),
    undeliverable,
  )
  await assert.rejects(session.signIn('ada'), undeliverable)
  assert.deepEqual(calls, [])
})

test('a session that has begun is updated after the response has begun', async () => {
  const { sessions, browser } = system({ data: { cart } })
  const ada = browser()
  await (await ada.visit()).signIn('ada')
  const late = exchange({ cookies: ada.cookies })
  late.headersSent = true
  await (await sessions.open(late)).update('cart', () => ['tea'])
  assert.deepEqual(await (await ada.visit()).read('cart'), ['tea'])
})

test('an update whose function answers `undefined` removes the section', async () => {
  const { browser } = system()
  const guest = browser()
  const session = await guest.visit()
  await session.update('a', () => 1)
  await session.update('b', () => 2)
  await session.update('a', () => undefined)
  assert.equal(await session.read('a'), undefined)
  assert.equal(await (await guest.visit()).read('b'), 2)
})

// Updating

test('fifty changes at once are all kept, from one request and from fifty', async () => {
  const { browser } = system({ data: { count } })
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  await Promise.all(Array.from({ length: 50 }, () => session.update('count', (n) => n + 1)))
  assert.equal(await (await owner.visit()).read('count'), 50)
  const requests = await Promise.all(Array.from({ length: 50 }, () => owner.visit()))
  await Promise.all(requests.map((one) => one.update('count', (n) => n + 1)))
  assert.equal(await (await owner.visit()).read('count'), 100)
})

test('the function is called again with what somebody else wrote, and the answer is what is stored', async () => {
  const { browser } = system({ data: { cart } })
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const [a, b] = [await owner.visit(), await owner.visit()]
  await b.update('cart', () => ['first'])
  const seen: string[][] = []
  const answer = await a.update('cart', (items) => {
    seen.push(items)
    return [...items, 'second']
  })
  assert.deepEqual(seen, [[], ['first']])
  assert.deepEqual(answer, ['first', 'second'])
  assert.deepEqual(await a.read('cart'), ['first', 'second'])
})

test('a function that throws changes nothing', async () => {
  const { browser } = system({ data: { cart } })
  const owner = browser()
  const session = await owner.visit()
  await session.update('cart', () => ['tea'])
  await assert.rejects(
    session.update('cart', () => {
      throw new RangeError('mine')
    }),
    RangeError,
  )
  assert.deepEqual(await (await owner.visit()).read('cart'), ['tea'])
})

test('data that does not fit its schema leaves what is stored untouched', async () => {
  const { browser } = system({ data: { cart }, maxDataBytes: 100 })
  const owner = browser()
  const session = await owner.visit()
  await session.update('cart', () => ['tea'])
  await assert.rejects(
    session.update('cart', () => [7 as never]),
    (error) => error instanceof DataError && error.issues.length === 1,
  )
  await assert.rejects(
    session.update('cart', () => ['x'.repeat(100)]),
    (error) => error instanceof DataError && error.code === 'data-too-large',
  )
  assert.deepEqual(await (await owner.visit()).read('cart'), ['tea'])
  assert.deepEqual(await session.read('cart'), ['tea'])
})

test('services with other sections, or another version of one, never strip each other', async () => {
  const shop = system({ data: { cart } })
  const billing = system({
    store: shop.store,
    now: shop.clock.now,
    data: { invoice: z.object({ total: z.number() }).optional() },
  })
  const { token } = await (await shop.browser().visit()).signIn('ada')
  const inShop = await shop.sessions.open(token)
  const inBilling = await billing.sessions.open(token)
  await inShop.update('cart', () => ['tea'])
  await inBilling.update('invoice', () => ({ total: 3 }))
  await inShop.update('cart', (items) => [...items, 'jam'])
  assert.deepEqual(await (await billing.sessions.open(token)).read('invoice'), { total: 3 })
  assert.deepEqual(await (await shop.sessions.open(token)).read('cart'), ['tea', 'jam'])
  await assert.rejects((inShop as Session<Record<string, unknown>>).read('invoice'), DataError)
})

test('after a hundred conflicts an update gives up and has written nothing', async (t) => {
  t.mock.method(Math, 'random', () => 0)
  let conflicts = 0
  const busy = (store: Store) =>
    around(store, async (call, run, args) => {
      if (call !== 'put' || args[1] === null) return run()
      conflicts++
      const current = (await store.get((args[0] as SessionRecord).id))!
      await store.put({ ...current, version: current.version + 1 }, current.version)
      return run()
    })
  const { browser } = system({ data: { cart } }, busy)
  const owner = browser()
  const session = await owner.visit()
  await session.update('cart', () => ['tea'])
  await assert.rejects(
    session.update('cart', () => ['jam']),
    (error) => error instanceof ConflictError && error.attempts === 100 && error.statusCode === 409,
  )
  assert.equal(conflicts, 100)
  assert.deepEqual(await (await owner.visit()).read('cart'), ['tea'])
})

test('a slow answer to an earlier update does not bring back what was before a later one', async () => {
  const { slowFirstChange, release } = slowly()
  const { browser } = system({ data: { count } }, slowFirstChange)
  const session = await browser().visit()
  await session.signIn('ada', {})
  const slow = session.update('count', (n) => n + 1)
  await settled()
  assert.equal(await session.update('count', (n) => n + 1), 2)
  release()
  assert.equal(await slow, 1)
  assert.equal(await session.read('count'), 2)
})

test('an update that is answered after the end does not make the session look alive', async () => {
  const { slowFirstChange, release } = slowly()
  const { browser } = system({ data: { count } }, slowFirstChange)
  const session = await browser().visit()
  await session.signIn('ada')
  const slow = session.update('count', (n) => n + 1)
  await settled()
  await session.end()
  release()
  await slow
  assert.equal(session.id, null)
  assert.equal(session.userId, null)
})

/** The first change of a record is made at once and answered when `release` is called. */
function slowly(): { slowFirstChange: (store: Store) => Store; release: () => void } {
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  let changes = 0
  const slowFirstChange = (store: Store) =>
    around(store, async (call, run, args) => {
      const answer = await run()
      if (call === 'put' && args[1] !== null && changes++ === 0) await held
      return answer
    })
  return { slowFirstChange, release }
}

test('an update extends the idle end', async () => {
  const { browser, clock } = system({ lifetime: { idle: '30m', absolute: '12h' }, data: { count } })
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  clock.advance('1m')
  await session.update('count', (n) => n + 1)
  assert.equal(session.expiresAt, clock.now() + 30 * 60_000)
})

test('an update at the end of the session is refused, even when the store has not noticed the end', async () => {
  for (const [lifetime, wait] of [
    [{ idle: '30m', absolute: '12h' }, '30m'],
    [{ idle: '30m', absolute: '30m' }, '30m'],
  ] as const) {
    const late = memoryStore({ clock: fakeClock() })
    const { browser, clock } = system({ store: late, lifetime, data: { count } })
    const owner = browser()
    await (await owner.visit()).signIn('ada')
    const session = await owner.visit()
    const during = session.update('count', (n) => {
      clock.advance(wait)
      return n + 1
    })
    await assert.rejects(during, SessionGoneError)
    assert.equal((await owner.visit()).refused, 'expired')
  }
})

// What the user may do

test('require answers with the code and status of what is missing, and says it in an event', async () => {
  const { browser, events, clock } = system({ roles: { shopper: ['orders:read'] } })
  const guest = browser()
  const session = await guest.visit()
  const missing = (what: Parameters<typeof session.require>[0], code: string, status: number, message: RegExp) => {
    assert.throws(
      () => session.require(what),
      (error) =>
        error instanceof AccessError &&
        error.code === code &&
        error.statusCode === status &&
        message.test(error.message),
    )
    assert.deepEqual(
      { ...events.at(-1), missing: '' },
      { type: 'denied', id: session.id, userId: session.userId, missing: '' },
    )
  }
  missing('orders:read', 'unauthenticated', 401, /sign in first/)
  missing({}, 'unauthenticated', 401, /sign in first/)
  await session.update('a', () => 1)
  missing('orders:read', 'unauthenticated', 401, /sign in first/)
  assert.equal(session.can('orders:read'), false)
  await session.signIn('ada', { roles: ['shopper'], amr: ['pwd'], acr: 'aal1' })
  session.require('orders:read')
  session.require({ permission: 'orders:read', within: '5m', acr: ['aal1', 'aal2'], amr: 'pwd' })
  missing('orders:write', 'forbidden', 403, /missing permission: orders:write/)
  missing({ acr: ['aal2', 'aal3'] }, 'assurance-too-low', 401, /aal2 or aal3/)
  missing({ amr: 'otp' }, 'assurance-too-low', 401, /otp/)
  clock.advance('6m')
  missing({ within: '5m' }, 'authentication-too-old', 401, /within 5m/)
})

test('an assurance level that was never stated meets no demand', async () => {
  const { browser } = system()
  const session = await browser().visit()
  await session.signIn('ada')
  for (const acr of [['aal1'], [], ['']]) assert.throws(() => session.require({ acr }), AccessError)
})

test('a guest may do nothing, whatever roles it was started with', async () => {
  const { sessions } = system({ roles: { admin: ['*'] } })
  const { session } = await sessions.start(null, { roles: ['admin'] })
  assert.equal(session.can('anything'), false)
})

test('authenticatedWithin counts from the last authentication, its end included', async () => {
  const { browser, clock } = system()
  const owner = browser()
  const session = await owner.visit()
  assert.equal(session.authenticatedWithin('5m'), false)
  await session.update('a', () => 1)
  assert.equal(session.authenticatedWithin('5m'), false)
  await session.signIn('ada')
  clock.advance('5m')
  assert.equal(session.authenticatedWithin('5m'), true)
  clock.advance('1ms')
  assert.equal(session.authenticatedWithin('5m'), false)
  assert.equal((await owner.visit()).authenticatedWithin('5m'), false)
  await session.signIn('ada', { amr: ['pwd'] })
  assert.equal(session.authenticatedWithin('5m'), true)
})

test('the session tells the device it was started from', async () => {
  const { browser } = system()
  const owner = browser()
  const userAgent =
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36'
  const session = await owner.visit({ headers: { 'user-agent': userAgent }, address: '198.51.100.7' })
  await session.signIn('ada')
  assert.deepEqual((await owner.visit()).device, {
    browser: 'Chrome 140',
    system: 'Windows',
    label: 'Chrome 140 on Windows',
    address: '198.51.100.7',
  })
})
