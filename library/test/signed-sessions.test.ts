import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import fc from 'fast-check'
import { createClient } from 'redis'
import { startRedis } from '../../scripts/servers/redis.ts'
import { keyring } from '../src/credentials/keyring.ts'
import { staticKeys } from '../src/credentials/keys.ts'
import { signedCredentials } from '../src/credentials/signed.ts'
import {
  bearerTransport,
  CredentialError,
  CrossSiteError,
  createSessions,
  DataError,
  opaqueCredentials,
  StoreUnavailableError,
  type SessionEvent,
  type SessionsOptions,
  type Store,
} from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { redisStore } from '../src/stores/redis.ts'
import { sqliteStore } from '../src/stores/sqlite.ts'
import { fakeClock, type FakeClock } from '../src/testing/clock.ts'
import { around, browser, exchange } from './fixtures.ts'
import { world } from './verify/world.ts'

const jwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
const keys = staticKeys({ keys: [{ ...jwk, kid: 'k1', alg: 'EdDSA' }] })
const credentials = signedCredentials({ issuer: 'https://id.example', audience: 'shop', keys })
/** A token's life and what clocks may differ by: from then on a signature alone is believed. */
const covered = `${5 * 60_000 + 300_000}ms` as const

function system(o: Partial<SessionsOptions<never>> & { clock?: FakeClock } = {}) {
  const { clock = fakeClock(), ...options } = o
  const events: SessionEvent[] = []
  const store = o.store ?? memoryStore({ clock })
  const sessions = createSessions({
    credentials,
    store,
    now: clock.now,
    elapsed: clock.now,
    onEvent: (event) => void events.push(event),
    ...options,
  })
  return { sessions, clock, events, store }
}

describe('a session by signed token', () => {
  test('is who it was signed in as, and holds what the store has', async () => {
    const { sessions } = system({ roles: { clerk: ['orders:*'] } })
    const started = await sessions.start('ada', {
      roles: ['clerk'],
      claims: { shop: 7 },
      amr: ['pwd', 'otp'],
      acr: 'aal2',
      client: 'web',
      data: { cart: ['tea'] },
    })
    assert.equal(started.expiresInMs, 300_000)
    const session = await sessions.open(started.token)
    assert.deepEqual(
      [session.id, session.userId, session.roles, session.claims, session.amr, session.acr, session.client],
      [started.session.id, 'ada', ['clerk'], { shop: 7 }, ['pwd', 'otp'], 'aal2', 'web'],
    )
    assert.equal(session.can('orders:write'), true)
    assert.deepEqual(await session.read('cart'), ['tea'])
    assert.deepEqual(await session.update('cart', (cart) => [...(cart as string[]), 'milk']), ['tea', 'milk'])
    assert.deepEqual(await (await sessions.open(started.token)).read('cart'), ['tea', 'milk'])
  })

  test('that is remembered knows its absolute end', async () => {
    const lifetime = { idle: '1h', absolute: '2h', remember: { idle: '14d', absolute: '90d' } } as const
    const { sessions, clock } = system({ lifetime })
    const { token } = await sessions.start('ada', { remember: true })
    const session = await sessions.open(token)
    assert.deepEqual([session.remembered, session.endsAt], [true, clock.now() + 90 * 86_400_000])
  })

  test('of a guest has no user', async () => {
    const { sessions } = system()
    const { token } = await sessions.start(null)
    const session = await sessions.open(token)
    assert.equal(session.refused, null)
    assert.equal(session.userId, null)
  })

  test('without a feed is asked for at each request: a signature says nothing of an ending', async () => {
    const { sessions } = system()
    const { token, session } = await sessions.start('ada')
    assert.equal((await sessions.open(token)).userId, 'ada')
    await sessions.end(session.id!)
    assert.equal((await sessions.open(token)).refused, 'ended')
  })

  test('expires, and the session goes on by refresh', async () => {
    const { sessions, clock } = system()
    const first = await sessions.start('ada')
    clock.advance('306s')
    assert.equal((await sessions.open(first.token)).refused, 'expired')
    const { session, tokens } = await sessions.refresh(first.refreshToken!)
    assert.equal(session.userId, 'ada')
    assert.equal((await sessions.open(tokens!.token)).id, first.session.id)
  })

  test('with other roles than now is stale, and its refresh has the new ones', async () => {
    const { sessions } = system()
    const { token, refreshToken } = await sessions.start('ada', { roles: ['clerk'] })
    await sessions.setRoles('ada', ['guest'])
    assert.equal((await sessions.open(token)).refused, 'stale')
    const { tokens } = await sessions.refresh(refreshToken!)
    assert.deepEqual((await sessions.open(tokens!.token)).roles, ['guest'])
  })

  test('stays good when its roles are set to what they are', async () => {
    const { sessions } = system()
    const { token } = await sessions.start('ada', { roles: ['clerk', 'guest'] })
    assert.equal(await sessions.setRoles('ada', ['clerk', 'guest']), 1)
    assert.equal((await sessions.open(token)).refused, null)
    await sessions.setRoles('ada', ['guest', 'clerk'])
    assert.equal((await sessions.open(token)).refused, 'stale')
  })

  test('lives beside opaque ones, each as it was started', async () => {
    const { sessions } = system({ credentials: [opaqueCredentials(), credentials] })
    const opaque = await sessions.start('ada')
    const signed = await sessions.start('ada', { credential: 'signed' })
    assert.equal(opaque.refreshToken, null)
    assert.equal((await sessions.open(opaque.token)).userId, 'ada')
    const session = await sessions.open(signed.token)
    const again = await session.signIn('ada')
    assert.notEqual(again.refreshToken, null, 'a sign-in keeps the kind')
    assert.equal((await sessions.open(signed.token)).refused, 'ended')
    assert.equal((await sessions.refresh(opaque.token)).session.refused, 'malformed')
  })
})

describe('with a feed', () => {
  test('the first look asks the store until every ending can be known, then the signature is enough', async () => {
    const w = world()
    const a = await w.process({ credentials, lifetime: { idle: '1h', absolute: '12h' } })
    const early = await a.sessions.start('ada')
    await a.sessions.open(early.token)
    await a.sessions.open(early.token)
    assert.deepEqual(
      a.calls.filter((call) => call === 'get'),
      ['get'],
    )
    w.clock.advance(covered)
    await a.read()
    const late = await a.sessions.start('ada')
    a.calls.length = 0
    assert.equal((await a.sessions.open(late.token)).userId, 'ada')
    assert.deepEqual(a.calls, [])

    await a.read({ gap: true })
    const later = await a.sessions.start('ada')
    a.calls.length = 0
    await a.sessions.open(later.token)
    assert.deepEqual(a.calls, ['get'], 'a gap begins anew')
    w.close()
  })

  test('an ending and a change of roles that were only heard of are enough to refuse', async () => {
    const w = world()
    const [a, b] = [await w.process({ credentials }), await w.process({ credentials })]
    w.clock.advance(covered)
    await Promise.all([a.read(), b.read()])
    const [ada, bob] = [await a.sessions.start('ada'), await a.sessions.start('bob')]
    for (const { token } of [ada, bob]) assert.equal((await b.sessions.open(token)).refused, null)
    await a.sessions.end(ada.session.id!)
    await a.sessions.setRoles('bob', ['clerk'])
    await b.read()
    b.calls.length = 0
    assert.equal((await b.sessions.open(ada.token)).refused, 'ended')
    assert.equal((await b.sessions.open(bob.token)).refused, 'stale')
    assert.deepEqual(b.calls, [])
    w.close()
  })

  test('an ending that had to be forgotten makes signatures ask again', async () => {
    const w = world()
    const a = await w.process({ credentials, cache: { maxEndings: 2 } })
    w.clock.advance(covered)
    await a.read()
    for (let i = 0; i < 3; i++) {
      await a.sessions.end((await a.sessions.start('eve')).session.id!)
      w.clock.advance('10001ms')
    }
    await a.read()
    await a.sessions.end((await a.sessions.start('eve')).session.id!)
    const { token } = await a.sessions.start('ada')
    a.calls.length = 0
    await a.sessions.open(token)
    assert.deepEqual(a.calls, ['get'])
    w.close()
  })

  test('what a key signed that was taken back is refused, cached or under way', async () => {
    const w = world()
    const own = keyring({
      store: memoryStore(),
      secret: 'x'.repeat(32),
      onChange: () => void w.log.notices.push({ kind: 'keys' }),
    })
    const a = await w.process({
      credentials: signedCredentials({ issuer: 'https://id.example', audience: 'shop', keys: own }),
    })
    const { token } = await a.sessions.start('ada')
    assert.equal((await a.sessions.open(token)).userId, 'ada')
    assert.equal((await a.sessions.open(token)).userId, 'ada')
    const [key] = (await own.list()).filter(({ state }) => state === 'current')
    assert.equal(await own.retire(key!.kid), true)
    await a.read()
    assert.equal((await a.sessions.open(token)).refused, 'unknown-key')
    w.close()
  })

  test('a signature is checked again after a minute: the notice of a key that was taken back may be lost', async () => {
    const w = world()
    const clock = { now: w.clock.now }
    const own = keyring({ store: memoryStore({ clock: w.clock }), secret: 'x'.repeat(32), clock, elapsed: w.clock.now })
    const a = await w.process({ credentials: signedCredentials({ issuer: 'i', audience: 'a', keys: own }) })
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    const [key] = (await own.list()).filter(({ state }) => state === 'current')
    assert.equal(await own.retire(key!.kid), true)
    w.clock.advance('60001ms')
    await a.read()
    assert.equal((await a.sessions.open(token)).refused, 'unknown-key')
    w.close()
  })

  test('trust-signed lets signed tokens in past the bound, says so each time, and never one known to have ended', async () => {
    const w = world()
    const a = await w.process({ credentials, whenStale: 'trust-signed' })
    const [ada, eve] = [await a.sessions.start('ada'), await a.sessions.start('eve')]
    await a.sessions.end(eve.session.id!)
    w.clock.advance('2s')
    a.calls.length = 0
    assert.equal((await a.sessions.open(ada.token)).userId, 'ada')
    assert.equal((await a.sessions.open(ada.token)).userId, 'ada')
    assert.equal((await a.sessions.open(eve.token)).refused, 'ended')
    assert.deepEqual(a.calls, [])
    const told = a.events.filter(({ type }) => type === 'trusted-stale')
    assert.deepEqual(
      told,
      Array.from({ length: 2 }, () => ({ type: 'trusted-stale', id: ada.session.id })),
    )
    w.close()
  })
})

test('while the store is down signed tokens are refused, or trusted if that was said', async () => {
  for (const whenStoreIsDown of ['refuse', 'trust-signed'] as const) {
    let down = false
    const store = around(memoryStore(), (_call, run) => (down ? Promise.reject(new Error('gone')) : run()))
    const { sessions, events } = system({ store, whenStoreIsDown, now: Date.now, elapsed: undefined })
    const { token } = await sessions.start('ada')
    down = true
    if (whenStoreIsDown === 'refuse') await assert.rejects(sessions.open(token), StoreUnavailableError)
    else {
      assert.equal((await sessions.open(token)).userId, 'ada')
      assert.equal(
        events.some(({ type }) => type === 'trusted-stale'),
        true,
      )
    }
  }
})

describe('by cookie', () => {
  test('both tokens are handed out, refreshed and taken away together', async () => {
    const { sessions, clock } = system()
    const ada = browser(sessions)
    await (await ada.visit()).signIn('ada')
    assert.deepEqual([...ada.cookies.keys()], ['__Host-session', '__Host-session-refresh'])
    clock.advance('306s')
    assert.equal((await ada.visit()).refused, 'expired')
    const request = exchange({ cookies: ada.cookies })
    const { session, tokens } = await sessions.refresh(request)
    assert.equal(session.userId, 'ada')
    assert.deepEqual(
      request.setCookies.map((line) => line.split(';')[0]),
      [`__Host-session=${tokens!.token}`, `__Host-session-refresh=${tokens!.refreshToken}`],
    )
    const renewed = browser(sessions, [
      ['__Host-session', tokens!.token],
      ['__Host-session-refresh', tokens!.refreshToken!],
    ])
    await (await renewed.visit()).end()
    assert.equal(renewed.cookies.size, 0)
  })

  test('the session of a request refreshes itself by the cookie that came with it', async () => {
    const { sessions, clock } = system()
    const ada = browser(sessions)
    await (await ada.visit()).signIn('ada')
    const old = [...ada.cookies.values()]
    clock.advance('306s')
    const visit = await ada.visit()
    assert.deepEqual([visit.refused, visit.userId], ['expired', null])
    const tokens = await visit.refresh()
    assert.deepEqual([visit.refused, visit.userId], [null, 'ada'])
    assert.deepEqual([...ada.cookies.values()], [tokens!.token, tokens!.refreshToken])
    await visit.update('cart', () => ['tea'])
    assert.deepEqual(await (await ada.visit()).read('cart'), ['tea'])

    assert.equal(await (await browser(sessions).visit()).refresh(), null)
    clock.advance('11s')
    const thief = browser(sessions, [['__Host-session-refresh', old[1]!]])
    const caught = await thief.visit()
    assert.equal(await caught.refresh(), null)
    assert.equal(caught.refused, 'refresh-reused')
    assert.equal((await ada.visit()).refused, 'ended')
  })

  test('a refresh from another site is refused whatever its method, and one after the response has begun', async () => {
    const { sessions } = system()
    const ada = browser(sessions)
    await (await ada.visit()).signIn('ada')
    for (const method of ['GET', 'POST']) {
      const headers = { 'sec-fetch-site': 'cross-site' }
      await assert.rejects(sessions.refresh(exchange({ method, headers, cookies: ada.cookies })), CrossSiteError)
    }
    const late = exchange({ cookies: ada.cookies })
    late.headersSent = true
    await assert.rejects(sessions.refresh(late), CredentialError)
    assert.equal((await sessions.refresh(exchange({ cookies: ada.cookies }))).session.userId, 'ada')
  })

  test('a request without a refresh token is anonymous, without a reason', async () => {
    const { sessions } = system({ transport: bearerTransport() })
    const { session, tokens } = await sessions.refresh(exchange())
    assert.deepEqual([session.refused, session.id, tokens], [null, null, null])
  })
})

const redis = await startRedis()
const client = createClient({ url: redis.url })
client.on('error', () => {})
await client.connect()
const folder = mkdtempSync(join(tmpdir(), 'holdfast-refresh-'))
after(async () => {
  client.destroy()
  await redis.stop()
  rmSync(folder, { recursive: true })
})
let opened = 0
const stores: Readonly<Record<string, (clock: FakeClock) => Store>> = {
  memory: (clock) => memoryStore({ clock }),
  sqlite: (clock) => sqliteStore(new DatabaseSync(join(folder, `${++opened}.db`)), { clock }),
  redis: (clock) => redisStore(client, { clock, prefix: `${++opened}:` }),
}

for (const [name, make] of Object.entries(stores)) {
  describe(`refreshes on ${name}`, () => {
    test('of one token, a hundred at once from three processes, give one successor, and nobody is signed out', async () => {
      const clock = fakeClock(Date.now())
      const store = make(clock)
      const [a, b, c] = [system({ clock, store }), system({ clock, store }), system({ clock, store })]
      const { refreshToken, session } = await a!.sessions.start('ada')
      const all = await Promise.all(
        Array.from({ length: 100 }, (_, i) => [a, b, c][i % 3]!.sessions.refresh(refreshToken!)),
      )
      assert.deepEqual(new Set(all.map(({ session: { userId } }) => userId)), new Set(['ada']))
      const successors = new Set(all.map(({ tokens }) => tokens!.refreshToken))
      assert.equal(successors.size, 1)
      const outcomes = [a, b, c].flatMap(({ events }) => events.filter(({ type }) => type === 'refreshed'))
      assert.equal(outcomes.filter((event) => 'outcome' in event && event.outcome === 'rotated').length, 1)
      assert.notEqual(await a!.sessions.get(session.id!), null)
    })

    test('a spent token ends the session, wherever it comes, and is told', async () => {
      const clock = fakeClock(Date.now())
      const store = make(clock)
      const [a, b] = [system({ clock, store }), system({ clock, store })]
      const { refreshToken: first, session } = await a.sessions.start('ada')
      const { tokens: second } = await a.sessions.refresh(first!)
      const { tokens: third } = await b.sessions.refresh(second!.refreshToken!)
      const stolen = await b.sessions.refresh(first!)
      assert.deepEqual([stolen.session.refused, stolen.tokens], ['refresh-reused', null])
      assert.equal((await a.sessions.refresh(third!.refreshToken!)).session.refused, 'unknown')
      assert.equal((await a.sessions.open(third!.token)).refused, 'ended')
      const id = session.id!
      const told = b.events.filter(({ type }) => ['refreshed', 'ended', 'refused'].includes(type))
      assert.deepEqual(told.slice(1), [
        { type: 'refreshed', id, userId: 'ada', outcome: 'reused' },
        { type: 'ended', ids: [id], userId: 'ada', reason: 'refresh-reused' },
        { type: 'refused', id, reason: 'refresh-reused' },
      ])
    })

    test('the predecessor is good for the window, not longer', async () => {
      for (const [wait, expected] of [
        ['10s', null],
        ['10001ms', 'refresh-reused'],
      ] as const) {
        const clock = fakeClock(Date.now())
        const one = system({ clock, store: make(clock) })
        const { refreshToken } = await one.sessions.start('ada')
        await one.sessions.refresh(refreshToken!)
        clock.advance(wait)
        assert.equal((await one.sessions.refresh(refreshToken!)).session.refused, expected)
      }
    })

    test('a refresh for which no token can be made spends nothing', async () => {
      const clock = fakeClock(Date.now())
      const one = system({ clock, store: make(clock) })
      const { refreshToken } = await one.sessions.start('ada', { claims: { text: 'x'.repeat(5_600) } })
      await one.sessions.setRoles(
        'ada',
        Array.from({ length: 30 }, (_, i) => `role-number-${i}`),
      )
      await assert.rejects(one.sessions.refresh(refreshToken!), DataError)
      clock.advance('11s')
      await one.sessions.setRoles('ada', [])
      assert.equal((await one.sessions.refresh(refreshToken!)).session.userId, 'ada')
    })

    test('who knows only the id can neither refresh nor end', async () => {
      const clock = fakeClock(Date.now())
      const one = system({ clock, store: make(clock) })
      const { refreshToken, session } = await one.sessions.start('ada')
      const guess = `${session.id}.${'A'.repeat(22)}.${'A'.repeat(43)}`
      assert.equal((await one.sessions.refresh(guess)).session.refused, 'mismatch')
      assert.equal((await one.sessions.refresh(refreshToken!)).session.userId, 'ada')
    })

    test('data written meanwhile stays, the absolute end too, and the idle end moves', async () => {
      const clock = fakeClock(Date.now())
      const one = system({ clock, store: make(clock), lifetime: { idle: '10m', absolute: '25m' } })
      let { refreshToken, session } = await one.sessions.start('ada')
      await session.update('cart', () => ['tea'])
      for (const userId of ['ada', 'ada', null]) {
        clock.advance('9m')
        const refreshed = await one.sessions.refresh(refreshToken!)
        assert.equal(refreshed.session.userId, userId)
        if (userId !== null) {
          assert.deepEqual(await refreshed.session.read('cart'), ['tea'])
          refreshToken = refreshed.tokens!.refreshToken
        }
      }
    })
  })
}

test('under any interleaving of refreshes, lost answers and thieves: no honest client is signed out, every thief is found', async () => {
  const anyStep = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('refresh' as const),
        copies: fc.integer({ min: 1, max: 4 }),
        lost: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 4_000, 11_000) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('steal' as const) }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { maxLength: 25 }), async (steps) => {
      const clock = fakeClock()
      const store = memoryStore({ clock })
      const nodes = [system({ clock, store }), system({ clock, store })]
      let { refreshToken: held } = await nodes[0]!.sessions.start('ada')
      const spent: string[] = []
      let retryBy = Infinity
      for (const step of steps) {
        if (step.do === 'wait') {
          // An honest client asks again at once when no answer comes.
          if (clock.now() + step.ms > retryBy) continue
          clock.advance(`${step.ms}ms`)
        } else if (step.do === 'steal') {
          const old = spent.at(-2)
          if (old === undefined) continue
          const { session } = await nodes[1]!.sessions.refresh(old)
          assert.equal(session.refused, 'refresh-reused')
          assert.equal((await nodes[0]!.sessions.refresh(held!)).session.refused, 'unknown')
          return
        } else {
          const answers = await Promise.all(
            Array.from({ length: step.copies }, (_, i) => nodes[i % 2]!.sessions.refresh(held!)),
          )
          const given = new Set(answers.map(({ session, tokens }) => tokens?.refreshToken ?? session.refused))
          assert.equal(given.size, 1)
          const [successor] = given
          assert.equal(answers[0]!.session.refused, null)
          if (step.lost) {
            retryBy = Math.min(retryBy, clock.now() + 10_000)
            continue
          }
          spent.push(held!)
          held = successor!
          retryBy = Infinity
        }
      }
    }),
    { numRuns: 200 },
  )
})
