// What an attack found once, so that it stays mended.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import {
  ConflictError,
  CredentialError,
  SessionGoneError,
  StoreUnavailableError,
  createSessions,
  type Schemas,
} from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { fakeClock } from '../src/testing/clock.ts'
import { around, exchange, settled, system } from './fixtures.ts'

const cart = z.array(z.string()).default([])

test('a default that one visitor changes is not what the next one gets', async () => {
  const { browser } = system({ data: { cart: z.object({ items: z.array(z.string()) }).default({ items: [] }) } })
  const add = (item: string) => (held: { items: string[] }) => {
    held.items.push(item)
    return held
  }
  await (await browser().visit()).update('cart', add('a secret'))
  const read = await (await browser().visit()).read('cart')
  assert.deepEqual(read, { items: [] })
  ;(read.items as string[]).push('another')
  assert.deepEqual(await (await browser().visit()).read('cart'), { items: [] })
})

test('assurance is never more than that of the last authentication', async () => {
  const { browser } = system()
  const session = await browser().visit()
  await session.signIn('ada', { roles: ['clerk'], amr: ['pwd', 'otp'], acr: 'aal2' })
  await session.signIn('ada', { amr: ['pwd'] })
  assert.deepEqual([session.acr, session.amr, session.roles], [null, ['pwd'], ['clerk']])
})

for (const whenReached of ['end-oldest', 'refuse'] as const) {
  test(`devices that authenticate again at once keep their sessions under a full limit (${whenReached})`, async () => {
    const { browser, sessions } = system({ data: { cart }, limit: { perUser: 2, whenReached } }, (store) =>
      around(store, async (_, run) => {
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 3))
        return run()
      }),
    )
    for (let round = 0; round < 15; round++) {
      const userId = `user-${round}`
      const devices = [browser(), browser()]
      for (const device of devices) {
        const session = await device.visit()
        await session.update('cart', () => ['tea'])
        await session.signIn(userId, { roles: ['clerk'] })
      }
      const again = await Promise.all(devices.map((device) => device.visit()))
      await Promise.all(again.map((session) => session.signIn(userId, { amr: ['pwd'] })))
      for (const device of devices) {
        const session = await device.visit()
        assert.deepEqual([session.userId, session.roles, await session.read('cart')], [userId, ['clerk'], ['tea']])
      }
      assert.equal((await sessions.list(userId)).length, 2)
    }
  })
}

test('a sign-in that arrived late, and that nobody heard of, locks nobody out for long', async () => {
  let late = false
  const { sessions, clock } = system({ limit: { perUser: 1, whenReached: 'refuse' }, deadline: '20ms' }, (store) =>
    around(store, async (call, run) => {
      const value = await run()
      return late && call !== 'listByUser' ? new Promise(() => {}) : value
    }),
  )
  late = true
  const awake = setInterval(() => {}, 1000)
  await assert.rejects(sessions.start('ada'), StoreUnavailableError)
  clearInterval(awake)
  late = false
  clock.advance('1m')
  assert.notEqual((await sessions.start('ada')).token, '')
})

test('a sign-in whose old session may or may not have ended keeps the data and hands out the new credential', async () => {
  let arrives: (() => Promise<unknown>) | null = null
  let losing = false
  const { browser } = system({ data: { cart }, deadline: '20ms' }, (store) =>
    around(store, (call, run, args) => {
      const ending = call === 'put' && (args[0] as { expiresAt: number }).expiresAt === 0
      if (!losing || !ending) return run()
      arrives = run
      return new Promise(() => {})
    }),
  )
  const owner = browser()
  const session = await owner.visit()
  await session.update('cart', () => ['tea'])
  losing = true
  const awake = setInterval(() => {}, 1000)
  await assert.rejects(session.signIn('ada'), StoreUnavailableError)
  clearInterval(awake)
  losing = false
  await arrives!()
  const after = await owner.visit()
  assert.equal(after.userId, 'ada')
  assert.deepEqual(await after.read('cart'), ['tea'])
})

test('who was signed out everywhere does not sign in again by a request that was under way', async () => {
  const { browser, sessions } = system()
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const slow = await owner.visit()
  await sessions.endUser('ada')
  await assert.rejects(slow.signIn('ada', { acr: 'aal2' }), SessionGoneError)
  assert.deepEqual(await sessions.list('ada'), [])
})

test('a response that begins while a sign-in runs leaves the old session alive and no new one', async () => {
  const request = exchange()
  const { sessions } = system({}, (store) =>
    around(store, (call, run, args) => {
      if (call === 'put' && (args[0] as { userId: unknown }).userId === 'ada') request.headersSent = true
      return run()
    }),
  )
  const session = await sessions.open(request)
  await session.update('cart', () => ['tea'])
  const guest = session.id!
  await assert.rejects(session.signIn('ada'), CredentialError)
  assert.deepEqual(await sessions.list('ada'), [])
  assert.equal((await sessions.get(guest))?.id, guest)
})

test('an update within a first update gives up instead of waiting for itself', async () => {
  const { browser } = system()
  const session = await browser().visit()
  const nested = session.update('outer', async () => session.update('inner', (n) => Number(n ?? 0) + 1))
  await assert.rejects(nested, ConflictError)
})

test('a list of one name is no name', async () => {
  const calls: string[] = []
  const { browser, sessions } = system({ data: { theme: z.string().default('') } }, (store) =>
    around(store, (call, run) => (calls.push(call), run())),
  )
  const session = await browser().visit()
  const listed = ['theme'] as unknown as 'theme'
  await assert.rejects(
    session.update(listed, () => 'x'),
    /no section name/,
  )
  assert.equal(await sessions.get(['a'.repeat(22)] as unknown as string), null)
  assert.equal(await sessions.end(['a'.repeat(22)] as unknown as string), false)
  await assert.rejects(sessions.list(['ada'] as unknown as string), TypeError)
  assert.deepEqual(calls, [])
})

test('a machine whose clock is behind signs users in all the same', async () => {
  const clock = fakeClock()
  const store = memoryStore({ clock })
  const limit = { perUser: 1, whenReached: 'end-oldest' } as const
  const ahead = createSessions({ store, limit, now: () => clock.now() + 30_000 })
  const behind = createSessions({ store, limit, now: clock.now })
  await ahead.start('ada')
  const { token } = await behind.start('ada')
  assert.equal((await behind.open(token)).userId, 'ada')
  assert.equal((await behind.list('ada')).length, 1)
})

test('an observer whose promise rejects ends nothing', async (t) => {
  const logged = t.mock.method(console, 'error', () => {})
  const sessions = createSessions<Schemas>({
    store: memoryStore(),
    // A function that answers a promise passes for one that answers nothing.
    onEvent: (() => Promise.reject(new Error('the audit is down'))) as () => void,
  })
  await sessions.open('nonsense')
  await settled()
  assert.equal(logged.mock.callCount(), 1)
})

test('claims that are too large are refused before anything is written', async () => {
  const { sessions } = system()
  await assert.rejects(sessions.start('ada', { claims: { text: 'x'.repeat(10_000) } }), /keep them in data/)
  assert.deepEqual(await sessions.list('ada'), [])
})

test('a session begins with many sections in one go', async () => {
  const { sessions } = system()
  const data = Object.fromEntries(Array.from({ length: 4_000 }, (_, i) => [`s${i}`, i]))
  const { session } = await sessions.start('ada', { data })
  assert.equal(await session.read('s3999'), 3999)
})
