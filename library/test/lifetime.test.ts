// How long sessions live: idle and absolute ends, touches, remembered ones, tightened limits.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { ConfigError, type Store } from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { browser as browserOf, around, counting, fakeRandom, settled, system } from './fixtures.ts'

const cart = z.array(z.string()).default([])
const minute = 60_000

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
  while (!events.some(({ type }) => type === 'touch-failed')) await settled()
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
