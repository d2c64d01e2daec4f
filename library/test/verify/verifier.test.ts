import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { StoreUnavailableError } from '../../src/index.ts'
import { signedCredentials } from '../../src/credentials/signed.ts'
import { staticKeys } from '../../src/credentials/keys.ts'
import { around, settled } from '../fixtures.ts'
import { gate, world, type World } from './world.ts'

let w: World
beforeEach(() => {
  w = world()
})
afterEach(() => w.close())

const boundMs = 1_000

describe('what is cached', () => {
  test('the second request asks nobody, and data is read only when asked for', async () => {
    const a = await w.process()
    const { token, session } = await a.sessions.start('ada', { roles: ['clerk'], data: { cart: [1] } })
    await a.sessions.open(token)
    a.calls.length = 0
    const again = await a.sessions.open(token)
    assert.equal(again.userId, 'ada')
    assert.equal(again.id, session.id)
    assert.deepEqual(again.roles, ['clerk'])
    assert.deepEqual(a.calls, [])
    assert.deepEqual(await again.read('cart'), [1])
    assert.deepEqual(await again.read('cart'), [1])
    assert.deepEqual(a.calls, ['get'])
  })

  test('what one request does to roles and claims, the next does not see', async () => {
    const a = await w.process()
    const { token } = await a.sessions.start('ada', { roles: ['guest'], claims: { shop: { id: 7 } } })
    await a.sessions.open(token)
    const one = await a.sessions.open(token)
    assert.throws(() => (one.roles as string[]).push('admin'), TypeError)
    assert.throws(() => Object.assign(one.claims['shop'] as object, { id: 8 }), TypeError)
    const two = await a.sessions.open(token)
    assert.deepEqual([two.roles, two.claims], [['guest'], { shop: { id: 7 } }])
  })

  test('the whole credential is the key: another secret for the same id is refused', async () => {
    const a = await w.process()
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    const forged = token.slice(0, -4) + (token.endsWith('AAAA') ? 'BBBA' : 'AAAA')
    assert.equal((await a.sessions.open(forged)).refused, 'mismatch')
  })

  test('without a feed nothing is cached', async () => {
    const a = await w.process({ feed: undefined })
    const { token } = await a.sessions.start('ada')
    a.calls.length = 0
    await a.sessions.open(token)
    await a.sessions.open(token)
    assert.deepEqual(a.calls, ['get', 'get'])
    assert.equal(a.sessions.status(), null)
  })

  test('that a session has idled out is never said without asking the store', async () => {
    const a = await w.process({ lifetime: { idle: '10m', absolute: '1h' } })
    const b = await w.process({ lifetime: { idle: '10m', absolute: '1h' } })
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    w.clock.advance('9m')
    await b.sessions.open(token)
    await settled()
    w.clock.advance('2m')
    await a.read()
    assert.equal((await a.sessions.open(token)).refused, null, 'the other process had extended it')
    w.clock.advance('11m')
    await a.read()
    assert.equal((await a.sessions.open(token)).refused, 'unknown')
  })

  test('a cached session is extended once a tenth of the idle time has passed, by one of many requests', async () => {
    const a = await w.process({ lifetime: { idle: '10m', absolute: '1h' } })
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    w.clock.advance('2m')
    await a.read()
    a.calls.length = 0
    const all = await Promise.all(Array.from({ length: 20 }, () => a.sessions.open(token)))
    await settled()
    assert.deepEqual(a.calls, ['get', 'put'])
    assert.equal(
      all.every(({ userId }) => userId === 'ada'),
      true,
    )
    await a.sessions.open(token)
    assert.deepEqual(a.calls, ['get', 'put'])
  })

  test('a touch that finds the session gone forgets it', async () => {
    const a = await w.process({ lifetime: { idle: '10m', absolute: '1h' } })
    const { token, session } = await a.sessions.start('ada')
    await a.sessions.open(token)
    await w.store.delete([session.id!])
    w.clock.advance('2m')
    await a.read()
    await a.sessions.open(token)
    await settled()
    assert.equal((await a.sessions.open(token)).refused, 'unknown')
  })

  test('entries and bytes are bounded, and what is used stays', async () => {
    const a = await w.process({ cache: { maxEntries: 10 } })
    const tokens = await Promise.all(
      Array.from({ length: 30 }, async (_, i) => (await a.sessions.start(`u${i}`)).token),
    )
    for (const token of tokens.slice(0, 10)) await a.sessions.open(token)
    await a.sessions.open(tokens[0]!)
    for (const token of tokens.slice(10, 15)) await a.sessions.open(token)
    assert.equal(a.sessions.status()!.cached, 10)
    a.calls.length = 0
    await a.sessions.open(tokens[0]!)
    assert.deepEqual(a.calls, [])
    await a.sessions.open(tokens[1]!)
    assert.deepEqual(a.calls, ['get'])

    const b = await w.process({ cache: { maxBytes: 3_000 } })
    for (const token of tokens) await b.sessions.open(token)
    const { cached, cachedBytes } = b.sessions.status()!
    assert.ok(cached > 0 && cached < 10 && cachedBytes <= 3_000, `${cached} entries, ${cachedBytes} bytes`)
  })

  test('a hundred requests at once cost one look-up, and a failure is everybody’s', async () => {
    let down = false
    const a = await w.process({}, (store) =>
      around(store, async (_call, run) => {
        if (down) throw new Error('gone')
        return run()
      }),
    )
    const { token } = await a.sessions.start('ada')
    a.calls.length = 0
    await Promise.all(Array.from({ length: 100 }, () => a.sessions.open(token)))
    assert.deepEqual(a.calls, ['get'])
    down = true
    const other = (await w.process()).sessions.start('bob')
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, async () => a.sessions.open((await other).token)),
    )
    assert.equal(
      results.every(({ status }) => status === 'rejected'),
      true,
    )
  })
})

describe('the bound', () => {
  test('at maxStaleness a cached answer is believed, beyond it the store is asked', async () => {
    const a = await w.process()
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    a.calls.length = 0
    w.clock.advance(`${boundMs}ms`)
    await a.sessions.open(token)
    assert.deepEqual(a.calls, [])
    w.clock.advance('1ms')
    await a.sessions.open(token)
    await a.sessions.open(token)
    assert.deepEqual(a.calls, ['get', 'get'])
    await a.read()
    await a.sessions.open(token)
    assert.deepEqual(a.calls, ['get', 'get'], 'what was cached is believed again')
  })

  test('an age counts from before the read began, not from its end', async () => {
    const a = await w.process()
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    const began = w.clock.now()
    w.clock.advance('900ms')
    await a.read({ asOf: began })
    w.clock.advance('200ms')
    a.calls.length = 0
    await a.sessions.open(token)
    assert.deepEqual(a.calls, ['get'])
  })

  test('refuse: 503 past the bound, without asking', async () => {
    const a = await w.process({ whenStale: 'refuse' })
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    w.clock.advance('1001ms')
    a.calls.length = 0
    await assert.rejects(
      a.sessions.open(token),
      (error) => error instanceof StoreUnavailableError && error.statusCode === 503,
    )
    assert.deepEqual(a.calls, [])
    await a.read()
    assert.equal((await a.sessions.open(token)).userId, 'ada')
  })

  test('before the first read of the feed nothing is cached', async () => {
    const a = await w.process({ feed: { publish: async () => {}, async *follow() {} } })
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    a.calls.length = 0
    await a.sessions.open(token)
    assert.deepEqual(a.calls, ['get'])
    assert.equal(a.sessions.status()!.ageMs, Infinity)
  })
})

describe('an ending', () => {
  test('is refused by a process that saw it, whatever the store says afterwards', async () => {
    const [a, b] = [await w.process(), await w.process()]
    const { token, session } = await a.sessions.start('ada')
    await b.sessions.open(token)
    const revived = (await w.store.get(session.id!))!
    assert.equal(await a.sessions.end(session.id!), true)
    assert.equal((await a.sessions.open(token)).refused, 'ended')
    await b.read()
    await w.store.put(revived, null)
    for (const { sessions } of [a, b]) {
      assert.equal((await sessions.open(token)).refused, 'ended')
      assert.equal(await sessions.get(session.id!), null)
      assert.deepEqual(await sessions.list('ada'), [])
    }
  })

  test('is published first and deleted second', async () => {
    const a = await w.process()
    const { session } = await a.sessions.start('ada')
    w.log.gate = gate().promise
    const shut = gate()
    w.log.gate = shut.promise
    a.calls.length = 0
    const ending = a.sessions.end(session.id!)
    await settled()
    assert.deepEqual(a.calls, [])
    shut.open()
    assert.equal(await ending, true)
    assert.deepEqual(a.calls, ['delete'])
    assert.deepEqual(w.log.notices, [{ kind: 'ended', ids: [session.id], reason: 'ended' }])
  })

  test('that was published and not deleted is refused all the same', async () => {
    const a = await w.process({}, (store) =>
      around(store, (call, run) => (call === 'delete' ? Promise.reject(new Error('killed here')) : run())),
    )
    const b = await w.process()
    const { token, session } = await a.sessions.start('ada')
    await b.sessions.open(token)
    await assert.rejects(a.sessions.end(session.id!), StoreUnavailableError)
    await b.read()
    assert.equal((await b.sessions.open(token)).refused, 'ended')
  })

  test('that can not be published is no success, leaves the session to be found again, and is carried out later', async () => {
    const [a, b] = [await w.process(), await w.process()]
    const { token, session } = await a.sessions.start('ada')
    await b.sessions.open(token)
    const shut = gate()
    shut.fail(new Error('the log is away'))
    w.log.gate = shut.promise
    await assert.rejects(a.sessions.endUser('ada'), StoreUnavailableError)
    // Who tries again elsewhere must not be told that there was nothing to end, while others still have it cached.
    await assert.rejects(b.sessions.endUser('ada'), StoreUnavailableError)
    assert.equal((await b.sessions.open(token)).userId, 'ada')
    w.log.gate = null
    while (!a.calls.includes('delete')) await settled()
    assert.deepEqual(w.log.notices[0], { kind: 'ended', ids: [session.id], reason: 'ended' })
    assert.equal(await w.store.get(session.id!), null)
  })

  test('that the store knows before the feed holds for every credential of the session', async () => {
    const keys = staticKeys({ keys: [{ kty: 'oct', k: 'A'.repeat(43), kid: 'k', alg: 'HS256' }] })
    const a = await w.process({ credentials: signedCredentials({ issuer: 'i', audience: 'a', keys }) })
    const { token, refreshToken, session } = await a.sessions.start('ada')
    const { tokens } = await a.sessions.refresh(refreshToken!)
    await a.sessions.open(tokens!.token)
    await w.store.delete([session.id!])
    assert.equal((await a.sessions.open(token)).refused, 'ended')
    assert.equal((await a.sessions.open(tokens!.token)).refused, 'ended')
  })

  test('while a look-up is under way wins over what that finds', async () => {
    const b = await slow()
    const a = await w.process()
    const { token, session } = await a.sessions.start('ada')
    b.hold()
    const opening = b.sessions.open(token)
    await settled()
    await a.sessions.end(session.id!)
    await b.read()
    b.answer()
    assert.equal((await opening).refused, 'ended')
    assert.equal((await b.sessions.open(token)).refused, 'ended')
  })

  test('by replacement and by limit goes through the feed too', async () => {
    const a = await w.process({ limit: { perUser: 1, whenReached: 'end-oldest' } })
    const b = await w.process()
    const first = await a.sessions.start('ada')
    const second = await a.sessions.start('ada')
    await b.sessions.open(second.token)
    const session = await a.sessions.open(second.token)
    const third = await session.signIn('ada')
    await b.read()
    assert.equal((await b.sessions.open(first.token)).refused, 'ended')
    assert.equal((await b.sessions.open(second.token)).refused, 'ended')
    assert.equal((await b.sessions.open(third.token)).userId, 'ada')
    const reasons = w.log.notices.map((notice) => (notice.kind === 'ended' ? notice.reason : notice.kind))
    assert.deepEqual(reasons, ['limit', 'replaced'])
  })

  test('settled resolves when the bound has passed since it was published, and not before', async () => {
    const a = await w.process({ elapsed: () => performance.now() })
    const { session } = await a.sessions.start('ada')
    const began = performance.now()
    await a.sessions.end(session.id!, { settled: true })
    assert.ok(performance.now() - began >= boundMs)
  })

  test('of many sessions is told in notices of bounded size', async () => {
    const a = await w.process()
    for (let i = 0; i < 250; i++) await a.sessions.start('ada')
    assert.equal(await a.sessions.endUser('ada'), 250)
    assert.deepEqual(
      w.log.notices.map((notice) => (notice.kind === 'ended' ? notice.ids.length : 0)),
      [100, 100, 50],
    )
  })
})

describe('a change of roles', () => {
  test('reaches what is cached elsewhere', async () => {
    const [a, b] = [await w.process(), await w.process()]
    const { token } = await a.sessions.start('ada', { roles: ['clerk'] })
    await b.sessions.open(token)
    await a.sessions.setRoles('ada', [])
    assert.deepEqual((await a.sessions.open(token)).roles, [])
    await b.read()
    assert.deepEqual((await b.sessions.open(token)).roles, [])
  })

  test('while a look-up is under way is looked for again', async () => {
    const b = await slow()
    const a = await w.process()
    const { token } = await a.sessions.start('ada', { roles: ['clerk'] })
    b.hold()
    const opening = b.sessions.open(token)
    await settled()
    await a.sessions.setRoles('ada', ['guest'])
    await b.read()
    b.answer()
    assert.deepEqual((await opening).roles, ['guest'])
  })
})

describe('a gap', () => {
  test('forgets what is cached, and look-ups that began before it are not cached', async () => {
    const b = await slow()
    const a = await w.process()
    const [ada, bob] = [await a.sessions.start('ada'), await a.sessions.start('bob')]
    await b.sessions.open(ada.token)
    b.hold()
    const opening = b.sessions.open(bob.token)
    await settled()
    w.clock.advance('1ms')
    await b.read({ gap: true })
    b.answer()
    assert.equal((await opening).userId, 'bob')
    b.calls.length = 0
    await b.sessions.open(ada.token)
    await b.sessions.open(bob.token)
    assert.deepEqual(b.calls, ['get', 'get'])
  })

  test('has this process publish and delete its endings of the last minutes again', async () => {
    const a = await w.process()
    const old = await a.sessions.start('ada')
    await a.sessions.end(old.session.id!)
    w.clock.advance('6m')
    await a.read()
    const late = await a.sessions.start('ada')
    const record = (await w.store.get(late.session.id!))!
    await a.sessions.end(late.session.id!)
    // A failover: the log has lost the notice, and the store the delete.
    w.log.notices.length = 0
    await w.store.put(record, null)
    const deleted = a.calls.filter((call) => call === 'delete').length
    await a.read({ gap: true })
    while (a.calls.filter((call) => call === 'delete').length === deleted) await settled()
    assert.deepEqual(w.log.notices, [{ kind: 'ended', ids: [late.session.id], reason: 'ended' }])
    assert.equal(await w.store.get(record.id), null)
    assert.deepEqual(
      a.events.filter(({ type }) => type === 'feed-gap'),
      [{ type: 'feed-gap', republished: 1 }],
    )
  })
})

describe('the feed', () => {
  test('that fails is followed again from where it was, and said to be down once', async () => {
    const a = await w.process()
    a.feed.fail(new Error('broken pipe'))
    await settled()
    assert.deepEqual(
      a.events.map(({ type }) => type),
      ['feed-down'],
    )
    while (a.events.length < 2) {
      await a.read()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    assert.deepEqual(
      a.events.map(({ type }) => type),
      ['feed-down', 'feed-up'],
    )
  })

  test('of which this process sees its own ending come back tells its lag', async () => {
    const a = await w.process()
    const { session } = await a.sessions.start('ada')
    await a.sessions.end(session.id!)
    w.clock.advance('42ms')
    await a.read()
    assert.equal(a.sessions.status()!.lagMs, 42)
  })
})

describe('remembered endings', () => {
  test('are bounded: the latest are kept, and those of the last ten seconds', async () => {
    const a = await w.process({ cache: { maxEndings: 3 } })
    const end = async () => {
      const { session } = await a.sessions.start('ada')
      await a.sessions.end(session.id!)
    }
    for (let i = 0; i < 5; i++) await end()
    assert.equal(a.sessions.status()!.endings, 5)
    w.clock.advance('10001ms')
    await end()
    assert.equal(a.sessions.status()!.endings, 3)
  })

  test('are known to a look-up that was under way when it ended, however many came after', async () => {
    const b = await slow({ cache: { maxEndings: 1 } })
    const a = await w.process()
    const [ada, eve] = [await a.sessions.start('ada'), await a.sessions.start('eve')]
    b.hold()
    const opening = b.sessions.open(ada.token)
    await settled()
    await a.sessions.end(ada.session.id!)
    await a.sessions.end(eve.session.id!)
    await b.read()
    b.answer()
    assert.equal((await opening).refused, 'ended')
  })
})

describe('a notice of a kind that is not known', () => {
  test('may be an ending: what is cached is forgotten, and following goes on', async () => {
    const a = await w.process()
    const { token } = await a.sessions.start('ada')
    await a.sessions.open(token)
    await a.read({ notices: [{ kind: 'of another release' } as never] })
    a.calls.length = 0
    assert.equal((await a.sessions.open(token)).userId, 'ada')
    assert.deepEqual(a.calls, ['get'])
    assert.equal(a.sessions.status()!.fresh, true)
  })
})

describe('watching', () => {
  test('hears of an ending elsewhere, once, and of none after it stopped', async () => {
    const [a, b] = [await w.process(), await w.process()]
    const { token, session } = await a.sessions.start('ada')
    const opened = await b.sessions.open(token)
    const heard: string[] = []
    b.sessions.watch(opened, () => heard.push('kept'))
    const stop = b.sessions.watch(opened, () => heard.push('stopped'))
    stop()
    await a.sessions.end(session.id!)
    assert.deepEqual(heard, [])
    await b.read()
    await b.read()
    assert.deepEqual(heard, ['kept'])
  })

  test('a callback that throws keeps nobody else from hearing, and changes nothing', async () => {
    for (const feed of [true, false]) {
      const a = await w.process(feed ? {} : { feed: undefined })
      const { session } = await a.sessions.start('ada')
      let heard = 0
      a.sessions.watch(session, () => {
        throw new Error('a callback that throws on purpose')
      })
      a.sessions.watch(session, async () => {
        heard++
        throw new Error('a callback that rejects on purpose')
      })
      assert.equal(await a.sessions.end(session.id!), true)
      assert.equal(heard, 1)
      assert.deepEqual(
        a.events.filter(({ type }) => type === 'feed-down'),
        [],
      )
    }
  })

  test('begun after the ending was seen hears of it too', async () => {
    const [a, b] = [await w.process(), await w.process()]
    const { token, session } = await a.sessions.start('ada')
    const opened = await b.sessions.open(token)
    await a.sessions.end(session.id!)
    await b.read()
    const heard = Promise.withResolvers<void>()
    b.sessions.watch(opened, () => heard.resolve())
    await heard.promise
  })

  for (const feed of ['a feed', 'no feed'] as const) {
    test(`with ${feed} hears of its own process's ending at once, and of an expiry by the store`, async () => {
      const a = await w.process(feed === 'a feed' ? {} : { feed: undefined })
      const one = await a.sessions.start('ada')
      let heard = 0
      a.sessions.watch(one.session, () => heard++)
      await a.sessions.end(one.session.id!)
      assert.equal(heard, 1)

      const two = await a.sessions.start('ada')
      const expired = Promise.withResolvers<void>()
      a.sessions.watch(two.session, () => expired.resolve())
      w.clock.advance('31m')
      await Promise.all([expired.promise, awake(expired.promise)])
    })
  }

  test('without a feed the store is asked, so endings of other processes are heard of too', async () => {
    const a = await w.process({ feed: undefined })
    const { session } = await a.sessions.start('ada')
    const ended = Promise.withResolvers<void>()
    a.sessions.watch(session, () => ended.resolve())
    await w.store.delete([session.id!])
    await Promise.all([ended.promise, awake(ended.promise)])
  })
})

/** A process whose look-ups, from `hold()` on, are answered only when `answer()` is called. */
async function slow(o: Parameters<World['process']>[0] = {}) {
  const late = gate()
  let isHeld = false
  const process = await w.process(o, (store) =>
    around(store, async (call, run) => {
      const found = await run()
      if (call === 'get' && isHeld) await late.promise
      return found
    }),
  )
  return { ...process, hold: () => void (isHeld = true), answer: late.open }
}

/** Its timers do not keep a process alive. */
async function awake(until: Promise<unknown>): Promise<void> {
  const timer = setInterval(() => {}, 1_000)
  await until
  clearInterval(timer)
}
