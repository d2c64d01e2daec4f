import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ConfigError, createSessions, DataError, StoreUnavailableError, type SessionEvent } from '../src/index.ts'
import { sealedCredentials } from '../src/credentials/sealed.ts'
import { opaqueCredentials } from '../src/credentials/opaque.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { fakeClock } from '../src/testing/clock.ts'
import { browser, settled } from './fixtures.ts'
import { scriptedFeed, type Log } from './verify/world.ts'

const keys = 'a secret of at least thirty-two characters'

function sealed(o: Partial<Parameters<typeof createSessions>[0]> = {}) {
  const clock = fakeClock()
  const events: SessionEvent[] = []
  const sessions = createSessions({
    credentials: sealedCredentials({ keys }),
    now: clock.now,
    elapsed: clock.now,
    onEvent: (event) => void events.push(event),
    ...o,
  })
  return { sessions, clock, events, browser: () => browser(sessions) }
}

describe('a session in a sealed cookie', () => {
  test('lives in the cookie alone, through guest, updates, sign-in and sign-out', async () => {
    const { browser } = sealed()
    const ada = browser()
    const guest = await ada.visit()
    assert.deepEqual(await guest.update('cart', () => ['tea']), ['tea'])
    const again = await ada.visit()
    assert.equal(again.userId, null)
    assert.deepEqual(await again.read('cart'), ['tea'])
    await again.signIn('ada', { roles: ['clerk'], claims: { shop: 7 } })
    const signedIn = await ada.visit()
    assert.deepEqual([signedIn.userId, signedIn.roles, signedIn.claims], ['ada', ['clerk'], { shop: 7 }])
    assert.notEqual(signedIn.id, guest.id)
    assert.deepEqual(await signedIn.update('cart', (cart) => [...(cart as string[]), 'milk']), ['tea', 'milk'])
    assert.deepEqual(await (await ada.visit()).read('cart'), ['tea', 'milk'])
    await (await ada.visit()).end()
    assert.equal(ada.cookies.size, 0)
  })

  test('is extended by a new cookie, and ends when it was not used for long enough', async () => {
    const { clock, browser } = sealed({ lifetime: { idle: '10m', absolute: '1h' } })
    const ada = browser()
    await (await ada.visit()).signIn('ada')
    for (let i = 0; i < 5; i++) {
      clock.advance('9m')
      assert.equal((await ada.visit()).userId, 'ada')
    }
    clock.advance('10m')
    assert.equal((await ada.visit()).refused, 'expired')
  })

  test('ends at its absolute end however often it is used', async () => {
    const { clock, browser } = sealed({ lifetime: { idle: '10m', absolute: '30m' } })
    const ada = browser()
    await (await ada.visit()).signIn('ada')
    for (const userId of ['ada', 'ada', 'ada', null]) {
      clock.advance('8m')
      assert.equal((await ada.visit()).userId, userId)
    }
  })

  test('too large for cookies is refused and leaves what was there', async () => {
    const { browser } = sealed()
    const ada = browser()
    await (await ada.visit()).update('note', () => 'short')
    await (await ada.visit()).update('note', () => 'x'.repeat(5_000))
    const visit = await ada.visit()
    await assert.rejects(
      visit.update('note', () => 'x'.repeat(20_000)),
      DataError,
    )
    assert.equal(((await visit.read('note')) as string).length, 5_000)
    assert.equal(((await (await ada.visit()).read('note')) as string).length, 5_000)
    await (await ada.visit()).update('note', () => 'short')
    assert.equal(ada.cookies.size, 1)
  })

  test('has no list, and says so', async () => {
    const { sessions } = sealed()
    await assert.rejects(sessions.list('ada'), ConfigError)
    await assert.rejects(sessions.endUser('ada'), ConfigError)
    assert.equal(await sessions.get('A'.repeat(22)), null)
  })

  test('is used alone, without a store', () => {
    assert.throws(() => sealed({ store: memoryStore() }), ConfigError)
    assert.throws(() => sealed({ credentials: [sealedCredentials({ keys }), opaqueCredentials()] }), ConfigError)
    assert.throws(() => createSessions({}), ConfigError)
  })
})

describe('with a feed', () => {
  function world() {
    const log: Log = { notices: [], gate: null }
    const feed = scriptedFeed(log)
    const made = sealed({ feed })
    const read = async () => {
      feed.step({ notices: log.notices, cursor: String(log.notices.length), gap: false, asOf: made.clock.now() })
      await settled()
    }
    return { ...made, log, read }
  }

  test('an ending reaches it: a captured cookie opens nothing', async () => {
    const one = world()
    await one.read()
    const ada = one.browser()
    await (await ada.visit()).signIn('ada')
    const captured = ada.copy()
    await (await ada.visit()).end()
    assert.equal((await captured.visit()).refused, 'ended')
    one.sessions.close()
  })

  test('a cookie that was replaced by a sign-in is dead', async () => {
    const one = world()
    await one.read()
    const ada = one.browser()
    await (await ada.visit()).signIn('ada')
    const captured = ada.copy()
    await (await ada.visit()).signIn('ada')
    assert.equal((await captured.visit()).refused, 'ended')
    assert.equal((await ada.visit()).userId, 'ada')
    one.sessions.close()
  })

  test('nobody is let in while the view is too old, unless told so, and that is said each time', async () => {
    for (const whenStale of ['ask-store', 'trust-signed'] as const) {
      const log: Log = { notices: [], gate: null }
      const feed = scriptedFeed(log)
      const one = sealed({ feed, whenStale })
      feed.step({ notices: [], cursor: '0', gap: false, asOf: one.clock.now() })
      await settled()
      const ada = one.browser()
      await (await ada.visit()).signIn('ada')
      assert.equal((await ada.visit()).userId, 'ada')
      one.clock.advance('1001ms')
      if (whenStale === 'ask-store') await assert.rejects(ada.visit(), StoreUnavailableError)
      else {
        assert.equal((await ada.visit()).userId, 'ada')
        assert.equal(one.events.filter(({ type }) => type === 'trusted-stale').length, 1)
      }
      one.sessions.close()
    }
  })
})
