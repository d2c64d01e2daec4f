// Signing in, again and out: a new credential each time, the old one dead at once, nothing lost and nothing revived.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as z from 'zod'
import { SessionGoneError, type Session, type Store } from '../src/index.ts'
import { around, counting, settled, system } from './fixtures.ts'

const cart = z.array(z.string()).default([])
const count = z.number().default(0)
type Carts = { cart: string[] }

// Signing in

test("a guest's cart is kept through sign-in", async () => {
  const { browser } = system({ data: { cart } })
  const guest = browser()
  await (await guest.visit()).update('cart', () => ['tea'])
  await (await guest.visit()).signIn('ada')
  const session = await guest.visit()
  assert.equal(session.userId, 'ada')
  assert.deepEqual(await session.read('cart'), ['tea'])
})

test('`carry` chooses what goes along', async () => {
  const { browser } = system({ data: { cart, count } })
  const guest = browser()
  const session = await guest.visit()
  await session.update('cart', () => ['tea'])
  await session.update('count', () => 7)
  await session.signIn('ada', { carry: ['count'] })
  assert.deepEqual(await session.read('cart'), [])
  assert.equal(await session.read('count'), 7)
  await session.signIn('ada', { carry: [] })
  assert.equal(await session.read('count'), 0)
})

test('another user gets nothing of the one before: no data, roles, claims, assurance', async () => {
  const { browser } = system({ data: { cart }, roles: { clerk: ['*'] } })
  const shared = browser()
  const session = await shared.visit()
  await session.signIn('ada', { roles: ['clerk'], claims: { team: 1 }, amr: ['otp'], acr: 'aal2' })
  await session.update('cart', () => ['tea'])
  await session.signIn('bob')
  for (const seen of [session, await shared.visit()]) {
    assert.equal(seen.userId, 'bob')
    assert.deepEqual(await seen.read('cart'), [])
    assert.deepEqual([seen.roles, seen.claims, seen.amr, seen.acr], [[], {}, [], null])
  }
})

test('another user gets what `carry` names', async () => {
  const { browser } = system({ data: { cart, count } })
  const session = await browser().visit()
  await session.signIn('ada')
  await session.update('cart', () => ['tea'])
  await session.update('count', () => 7)
  await session.signIn('bob', { carry: ['count'] })
  assert.deepEqual([await session.read('cart'), await session.read('count')], [[], 7])
})

for (const [what, options] of [
  ['sign-in', null],
  ['re-authentication', { amr: ['pwd'] }],
  ['step-up', { amr: ['pwd', 'otp'], acr: 'aal2' }],
] as const) {
  test(`${what} gives a new id and credential, and the old one is dead at once`, async () => {
    const { browser, events } = system()
    const owner = browser()
    const session = await owner.visit()
    if (options === null) await session.update('a', () => 1)
    else await session.signIn('ada', { roles: ['shopper'], claims: { team: 1 }, amr: ['pwd'], acr: 'aal1' })
    const thief = owner.copy()
    const before = { id: session.id!, token: owner.token! }
    await session.signIn('ada', options ?? {})
    assert.notEqual(session.id, before.id)
    assert.notEqual(owner.token, before.token)
    assert.equal((await owner.visit()).userId, 'ada')
    const stolen = await thief.visit()
    assert.equal(stolen.id, null)
    assert.equal(stolen.refused, 'unknown')
    assert.deepEqual(
      events.filter(({ type }) => type === 'ended'),
      [{ type: 'ended', ids: [before.id], userId: options === null ? null : 'ada', reason: 'replaced' }],
    )
    if (options !== null) {
      assert.deepEqual([session.roles, session.claims], [['shopper'], { team: 1 }])
      assert.deepEqual(session.amr, options.amr)
      assert.equal(session.acr, 'acr' in options ? options.acr : null, 'assurance is that of the last authentication')
    }
  })
}

test('an attacker who plants a cookie is not signed in with its victim', async () => {
  const { browser } = system()
  const attacker = browser()
  await (await attacker.visit()).update('a', () => 1)
  const victim = attacker.copy()
  await (await victim.visit()).signIn('ada')
  assert.equal((await attacker.visit()).userId, null)
})

test('a session opened before it ended brings none of its data into the next one', async () => {
  const { browser, sessions } = system({ data: { cart } })
  const owner = browser()
  const first = await owner.visit()
  await first.signIn('ada', { roles: ['clerk'] })
  await first.update('cart', () => ['tea'])
  const slow = await owner.visit()
  await sessions.end(slow.id!)
  await assert.rejects(slow.signIn('ada', { amr: ['pwd'] }), SessionGoneError)
  await slow.signIn('bea', { amr: ['pwd'], carry: ['cart'] })
  assert.deepEqual(await slow.read('cart'), [])
  assert.deepEqual(slow.roles, [], 'what was kept of an ended session')
  assert.deepEqual(await sessions.list('ada'), [])
})

test('a role taken away while the user steps up stays away', async () => {
  const { browser, sessions } = system({ roles: { admin: ['*'] } })
  const owner = browser()
  await (await owner.visit()).signIn('ada', { roles: ['admin'] })
  const session = await owner.visit()
  assert.equal(await sessions.setRoles('ada', []), 1)
  await session.signIn('ada', { amr: ['otp'], acr: 'aal2' })
  assert.deepEqual(session.roles, [])
  assert.equal((await owner.visit()).can('anything'), false)
})

test('a user id is a name: not empty, not endless, no control characters, no half characters', async () => {
  const calls: (keyof Store)[] = []
  const { browser } = system({}, counting(calls))
  const session = await browser().visit()
  for (const bad of ['', 'a'.repeat(257), 'a\0b', 'a\nb', '\ud800'])
    await assert.rejects(session.signIn(bad), TypeError)
  assert.deepEqual(calls, [])
  await session.signIn('😀'.repeat(128))
})

test('one request may sign in twice; its last cookie is the one that works', async () => {
  const { browser } = system()
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  await session.signIn('bob')
  assert.equal((await owner.visit()).userId, 'bob')
})

test('two sign-ins of one request at the same time leave one session', async () => {
  const { browser, sessions } = system()
  const owner = browser()
  const session = await owner.visit()
  await Promise.all([session.signIn('ada'), session.signIn('ada')])
  assert.equal((await sessions.list('ada')).length, 1)
  assert.equal((await owner.visit()).id, session.id)
})

// Ending

test('after the end the captured cookie opens nothing, and the browser has none', async () => {
  const { browser, events } = system()
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  const thief = owner.copy()
  const id = session.id!
  await session.end()
  assert.equal(session.id, null)
  assert.equal(session.userId, null)
  assert.equal(owner.token, null)
  assert.match(owner.lines.at(-1)!, /^__Host-session=; .*; Max-Age=0$/)
  assert.equal((await thief.visit()).refused, 'unknown')
  assert.deepEqual(
    events.find(({ type }) => type === 'ended'),
    { type: 'ended', ids: [id], userId: 'ada', reason: 'signed-out' },
  )
})

test('a session that was ended here begins anew only through signIn', async () => {
  const { browser } = system({ data: { cart } })
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  await session.update('cart', () => ['tea'])
  await session.end()
  await assert.rejects(
    session.update('cart', () => ['jam']),
    SessionGoneError,
  )
  assert.deepEqual(await session.read('cart'), [])
  await session.signIn('ada')
  assert.deepEqual(await session.read('cart'), [])
  assert.equal((await owner.visit()).userId, 'ada')
})

test('ending twice, or without a session, is no error', async () => {
  const { browser } = system()
  const session = await browser().visit()
  await session.end()
  await session.signIn('ada')
  await Promise.all([session.end(), session.end()])
  assert.equal(session.id, null)
})

test('a sign-in right after a sign-out, not awaited, is the one that holds', async () => {
  const slowDelete = (store: Store) =>
    around(store, async (call, run) => {
      const answer = await run()
      if (call === 'delete') await settled()
      return answer
    })
  const { browser, sessions } = system({}, slowDelete)
  const owner = browser()
  const session = await owner.visit()
  await session.signIn('ada')
  await Promise.all([session.end(), session.signIn('ada')])
  assert.equal((await owner.visit()).userId, 'ada')
  assert.equal(session.userId, 'ada')
  assert.equal((await sessions.list('ada')).length, 1)
})

test('an update answers SessionGoneError when the session ended before it', async () => {
  const { browser, sessions } = system({ data: { cart } })
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const session = await owner.visit()
  await sessions.end(session.id!)
  await assert.rejects(
    session.update('cart', () => ['tea']),
    (error) => error instanceof SessionGoneError && error.statusCode === 401,
  )
  assert.equal((await owner.visit()).id, null)
})

test('an update answers SessionGoneError when the session ends while its function runs', async () => {
  const { browser, sessions } = system({ data: { cart } })
  const owner = browser()
  await (await owner.visit()).signIn('ada')
  const session = await owner.visit()
  const slow = session.update('cart', async () => {
    await sessions.endUser('ada')
    return ['tea']
  })
  await assert.rejects(slow, SessionGoneError)
  assert.deepEqual(await sessions.list('ada'), [])
  assert.equal((await owner.visit()).id, null)
})

test('whatever the order of sign-out and slow saves, a signed-out session never comes back', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (s) => {
      const { browser, sessions } = system({ data: { cart } }, scheduled(s))
      const owner = browser()
      const [session, second] = (await s.waitFor(opened(owner))) as [Session<Carts>, Session<Carts>]
      let ended = false
      const saves = [session, second].map((one, i) =>
        one
          .update('cart', (items) => [...items, String(i)])
          .then(
            () => {},
            (error: unknown) => assert.ok(error instanceof SessionGoneError, String(error)),
          ),
      )
      const end = session.end().then(() => {
        ended = true
      })
      await s.waitFor(Promise.all([...saves, end]))
      assert.equal(ended, true)
      assert.deepEqual(await s.waitFor(sessions.list('ada')), [])
      assert.equal((await s.waitFor(owner.visit())).userId, null)
      assert.equal(session.id, null)
    }),
  )
})

test('whatever the order, an acknowledged update is in the session after signIn', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 3 }), async (s, writers) => {
      const { browser } = system({ data: { cart } }, scheduled(s))
      const owner = browser()
      const [session, ...others] = await s.waitFor(opened(owner, writers + 1))
      const acknowledged: string[] = []
      const writes = others.map(async (other, i) => {
        try {
          await other.update('cart', (items) => [...items, String(i)])
          acknowledged.push(String(i))
        } catch (error) {
          assert.ok(error instanceof SessionGoneError, String(error))
        }
      })
      await s.waitFor(Promise.all([...writes, session!.signIn('ada')]))
      const kept = await s.waitFor(owner.visit().then((one) => one.read('cart')))
      assert.deepEqual(kept.toSorted(), acknowledged.toSorted())
    }),
  )
})

test('whatever the order, roles taken away during a step-up are gone when both are done', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (s) => {
      const { browser, sessions } = system({}, scheduled(s))
      const owner = browser()
      await s.waitFor(owner.visit().then((session) => session.signIn('ada', { roles: ['admin'] })))
      const session = await s.waitFor(owner.visit())
      await s.waitFor(Promise.all([session.signIn('ada', { acr: 'aal2' }), sessions.setRoles('ada', [])]))
      assert.deepEqual((await s.waitFor(owner.visit())).roles, [])
    }),
  )
})

/** Several requests of one signed-in browser, each with its session open. */
async function opened<Data>(owner: { visit(): Promise<Session<Data>> }, requests = 2): Promise<Session<Data>[]> {
  await (await owner.visit()).signIn('ada')
  return Promise.all(Array.from({ length: requests }, () => owner.visit()))
}

/** The store's calls take effect, and are answered, in an order that the scheduler chooses. */
function scheduled(s: fc.Scheduler): (store: Store) => Store {
  return (store) =>
    around(store, async (call, run) => {
      await s.schedule(Promise.resolve(), `${call} arrives`)
      const answer = await run()
      await s.schedule(Promise.resolve(), `${call} is answered`)
      return answer
    })
}
