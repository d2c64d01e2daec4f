// Sessions without a request: starting, listing, ending them, changing roles.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { bearerTransport, type Store } from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { counting, exchange, settled, system } from './fixtures.ts'

const cart = z.array(z.string()).default([])
const minute = 60_000

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
