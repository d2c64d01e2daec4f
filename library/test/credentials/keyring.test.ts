// The life of signing keys, in one process and in several at once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { keyring, type Keyring, type KeyringOptions } from '../../src/credentials/keyring.ts'
import { signedCredentials } from '../../src/credentials/signed.ts'
import { ConfigError, ConflictError, StoreUnavailableError } from '../../src/errors.ts'
import type { Store } from '../../src/store.ts'
import { memoryStore } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/clock.ts'
import { around, record, settled } from '../fixtures.ts'
import { random } from './signed-fixtures.ts'

const secret = 'a secret of thirty-two characters'

/** A store, a clock, and as many processes as are asked for. */
function world(o: Partial<KeyringOptions> = {}) {
  const clock = fakeClock()
  const store = o.store ?? memoryStore({ clock })
  const process = (more: Partial<KeyringOptions> = {}): Keyring =>
    keyring({ store, secret, clock, elapsed: clock.now, ...o, ...more })
  return { clock, store, process }
}

const states = async (keys: Keyring) => (await keys.list()).map(({ state }) => state)
const kids = async (keys: Keyring) => (await keys.list()).map(({ kid }) => kid)
const signer = async (keys: Keyring) => (await keys.current()).kid
const published = async (keys: Keyring) => (await keys.jwks()).keys.map(({ kid }) => kid)
const knows = async (keys: Keyring, kid: string) => (await keys.find(kid)) !== null

test('each wrong option is named', () => {
  const bad: readonly (readonly [Partial<Record<keyof KeyringOptions, unknown>>, RegExp])[] = [
    [{ secret: 'short' }, /^secret/],
    [{ secret: undefined }, /^secret/],
    [{ store: undefined }, /^store/],
    [{ rotateEvery: 'often' }, /^rotateEvery/],
    [{ publishBefore: '0s' }, /^publishBefore/],
    [{ publishBefore: '30d' }, /^publishBefore/],
    [{ keepFor: 'long' }, /^keepFor/],
  ]
  for (const [o, message] of bad) {
    const made = () => keyring({ store: memoryStore(), secret, ...o } as KeyringOptions)
    assert.throws(made, (error: unknown) => error instanceof ConfigError && message.test(error.message))
  }
})

for (const algorithm of ['EdDSA', 'ES256', 'RS256', 'PS256'] as const) {
  test(`${algorithm}: the first use makes the first key, and another process verifies what it signed`, async () => {
    const { process, clock } = world({ algorithm })
    const [a, b] = [process(), process()]
    const issuing = { issuer: 'i', audience: 'a' }
    const { id, tokens } = await signedCredentials({ ...issuing, keys: a }).issue(random)
    const { token } = await tokens(record({ id }))
    const presented = await signedCredentials({ ...issuing, keys: b }).present(token, clock.now())
    assert.equal(presented?.kind === 'proof' && presented.known.id, id)
    assert.deepEqual(await states(b), ['current'])
    assert.equal((await b.list())[0]!.alg, algorithm)
  })
}

test('once known, keys are found and used at once', async () => {
  const keys = world().process()
  const { kid } = await keys.current()
  assert.ok(!(keys.find(kid) instanceof Promise) && !(keys.current() instanceof Promise))
  assert.equal(await keys.find('nobody'), null)
})

test('a key is published, used, kept for what it signed, and gone', async () => {
  const { process, clock } = world({ rotateEvery: '30d', publishBefore: '1h', keepFor: '2h' })
  const keys = process()
  const first = await signer(keys)
  const begin = clock.now()
  clock.advance('31d')
  await keys.maintain()
  const second = (await kids(keys)).find((kid) => kid !== first)!
  assert.deepEqual(await states(keys), ['current', 'next'])
  assert.equal(await signer(keys), first)
  const [info, nextInfo] = await keys.list()
  assert.equal(info!.verifiesUntil, nextInfo!.signsFrom + 7_200_000)
  assert.equal(nextInfo!.verifiesUntil, null)
  assert.equal(nextInfo!.signsFrom, clock.now() + 3_600_000)
  assert.equal(info!.signsFrom, begin)
  assert.ok(await knows(keys, second))
  clock.advance('1h')
  assert.equal(await signer(keys), second)
  assert.deepEqual(await states(keys), ['retiring', 'current'])
  assert.deepEqual(await published(keys), [first, second])
  clock.advance('7199s')
  assert.ok(await knows(keys, first))
  clock.advance('1s')
  assert.ok(!(await knows(keys, first)))
  assert.deepEqual(await published(keys), [second])
  await keys.maintain()
  assert.deepEqual(await states(keys), ['current'])
})

test('a key that is due is published before its time, and signs on time', async () => {
  const { process, clock } = world({ rotateEvery: '10d', publishBefore: '1h' })
  const keys = process()
  const first = await signer(keys)
  clock.advance('11d')
  // Nobody used it for long: the next one is published first all the same.
  const changed = Promise.withResolvers<void>()
  const other = process({ onChange: changed.resolve })
  assert.equal(await signer(other), first)
  await changed.promise
  assert.deepEqual(await states(other), ['current', 'next'])
  assert.equal(await signer(other), first)
  clock.advance('1h')
  assert.notEqual(await signer(other), first)

  const exact = world({ rotateEvery: '10d', publishBefore: '1h' })
  const punctual = exact.process()
  await punctual.maintain()
  exact.clock.advance('239h')
  await punctual.maintain()
  const [, next] = await punctual.list()
  assert.equal(next!.signsFrom, exact.clock.now() + 3_600_000)
})

test('before a key is due nothing is written', async () => {
  const calls: string[] = []
  const clock = fakeClock()
  const store = around(memoryStore({ clock }), (call, run) => (calls.push(call), run()))
  const keys = keyring({ store, secret, clock, elapsed: clock.now })
  await keys.maintain()
  clock.advance('28d')
  calls.length = 0
  await keys.maintain()
  await keys.current()
  assert.deepEqual(new Set(calls), new Set(['get']))
})

test('rotate publishes the next one now, and makes no third', async () => {
  const { process, clock } = world()
  const keys = process()
  const first = await signer(keys)
  await keys.rotate()
  await keys.rotate()
  assert.deepEqual(await states(keys), ['current', 'next'])
  assert.equal(await signer(keys), first)
  clock.advance('1h')
  assert.deepEqual(await states(keys), ['retiring', 'current'])
  assert.notEqual(await signer(keys), first)
})

test('rotate takes a next one that has been published for long enough', async () => {
  const { process, clock } = world({ rotateEvery: '30d', publishBefore: '1d' })
  const keys = process({ publishBefore: '10d' })
  await keys.maintain()
  clock.advance('21d')
  await keys.maintain()
  assert.deepEqual(await states(keys), ['current', 'next'])
  clock.advance('2d')
  // Published two days ago, which is long enough for this one.
  const next = (await kids(keys))[1]
  const hasty = process()
  await hasty.rotate()
  assert.equal(await signer(hasty), next)
})

test('rotate now: the new key signs at once, the old one still verifies', async () => {
  const { process } = world()
  const keys = process()
  const first = await signer(keys)
  await keys.rotate({ now: true })
  const second = await signer(keys)
  assert.notEqual(second, first)
  assert.ok(await knows(keys, first))
  await keys.rotate()
  const [, , third] = await kids(keys)
  await keys.rotate({ now: true })
  assert.equal(await signer(keys), third)
})

test('the first rotation of all makes a key that signs', async () => {
  const { process } = world()
  const keys = process()
  await keys.rotate()
  assert.deepEqual(await states(keys), ['current'])
})

test('retire: a key verifies nothing from then on, and another signs at once', async () => {
  const { process } = world()
  const keys = process()
  const first = await signer(keys)
  assert.equal(await keys.retire('nobody'), false)
  assert.equal(await keys.retire(first), true)
  assert.equal(await knows(keys, first), false)
  const second = await signer(keys)
  assert.notEqual(second, first)
  assert.deepEqual(await published(keys), [second])
  assert.equal(await keys.retire(first), false)

  await keys.rotate({ now: true })
  assert.deepEqual(await states(keys), ['retiring', 'current'])
  const third = await signer(keys)
  assert.equal(await keys.retire(second), true)
  assert.deepEqual(await kids(keys), [third])

  await keys.rotate()
  const [, fourth] = await kids(keys)
  assert.equal(await keys.retire(fourth!), true)
  assert.equal(await signer(keys), third)
  await keys.rotate()
  const [, fifth] = await kids(keys)
  await keys.retire(third)
  assert.equal(await signer(keys), fifth)
})

test('retiring the current key brings back none that was gone', async () => {
  const { process, clock } = world({ keepFor: '1h' })
  const keys = process()
  const first = await signer(keys)
  await keys.rotate({ now: true })
  clock.advance('1h')
  await keys.retire(await signer(keys))
  assert.ok(!(await knows(keys, first)))
  assert.deepEqual(await states(keys), ['current'])
})

test('other processes hear of a retired key at once when told, and within a minute when not', async () => {
  const { process, clock } = world()
  const told = process()
  const onChange = () => told.refresh()
  const [a, b] = [process({ onChange }), process()]
  const first = await signer(a)
  assert.ok((await knows(b, first)) && (await knows(told, first)))
  await a.retire(first)
  assert.ok(!(await knows(told, first)))
  assert.ok(await knows(b, first))
  clock.advance('60s')
  assert.ok(!(await knows(b, first)))
})

test('half a minute old, keys are read again in the background, and nobody waits', async () => {
  const { process, clock } = world()
  const [a, b] = [process(), process()]
  const first = await signer(a)
  await b.refresh()
  await a.retire(first)
  clock.advance('31s')
  assert.ok(!(b.find(first) instanceof Promise))
  await settled()
  assert.equal(await knows(b, first), false)
})

test('a key that another process just made is found, and unknown names cost one look a second', async () => {
  const clock = fakeClock()
  const memory = memoryStore({ clock })
  let reads = 0
  const store = around(memory, (call, run) => (call === 'get' && reads++, run()))
  const a = keyring({ store: memory, secret, clock, elapsed: clock.now })
  const b = keyring({ store, secret, clock, elapsed: clock.now })
  await a.maintain()
  await b.jwks()
  clock.advance('1s')
  await a.rotate({ now: true })
  assert.ok(await knows(b, await signer(a)))
  reads = 0
  for (let i = 0; i < 50; i++) assert.equal(await b.find(`made up ${i}`), null)
  assert.equal(reads, 0)
  clock.advance('1s')
  await Promise.all(Array.from({ length: 50 }, async (_, i) => b.find(`made up ${i}`)))
  assert.equal(reads, 1)
})

test('while the store is away what was known is used; where nothing was, that is said', async () => {
  const clock = fakeClock()
  let down = false
  const store = around(memoryStore({ clock }), (_, run) => (down ? Promise.reject(new Error('away')) : run()))
  const keys = keyring({ store, secret, clock, elapsed: clock.now })
  const first = await signer(keys)
  down = true
  for (const wait of ['31s', '2m', '29d', '2d'] as const) {
    clock.advance(wait)
    assert.ok(await knows(keys, first))
    assert.equal(await signer(keys), first)
    await settled()
  }
  await assert.rejects(async () => keys.find('another'), StoreUnavailableError)
  await assert.rejects(keys.rotate(), StoreUnavailableError)
  await assert.rejects(keys.refresh(), StoreUnavailableError)
  const late = keyring({ store, secret, clock, elapsed: clock.now })
  await assert.rejects(async () => late.find(first), StoreUnavailableError)
  await assert.rejects(async () => late.current(), StoreUnavailableError)
  down = false
  clock.advance('10s')
  assert.ok(await knows(late, first))
  await keys.maintain()
  assert.deepEqual(await states(keys), ['current', 'next'])
})

test('a rotation that fails in the background is made up for by the next use', async () => {
  const clock = fakeClock()
  const failed = Promise.withResolvers<void>()
  const changed = Promise.withResolvers<void>()
  let puts = 0
  const store = around(memoryStore({ clock }), (call, run) => {
    // The first makes the key; a write that failed is tried once more.
    if (call !== 'put' || ++puts === 1 || puts > 3) return run()
    if (puts === 3) failed.resolve()
    return Promise.reject(new Error('read-only'))
  })
  const onChange = () => void (puts > 3 && changed.resolve())
  const keys = keyring({ store, secret, clock, elapsed: clock.now, onChange })
  const first = await signer(keys)
  clock.advance('31d')
  assert.equal(await signer(keys), first)
  await failed.promise
  await settled()
  clock.advance('1m')
  assert.equal(await signer(keys), first)
  await changed.promise
  assert.deepEqual(await states(keys), ['current', 'next'])
})

test('a store that lies about what it wrote is an outage, not an endless loop', async () => {
  const store: Store = { ...memoryStore(), get: async () => null, put: async () => true }
  await assert.rejects(async () => keyring({ store, secret }).current(), StoreUnavailableError)
  const full: Store = { ...memoryStore(), get: async () => null, put: async () => false }
  await assert.rejects(keyring({ store: full, secret }).maintain(), ConflictError)
})

test('in the store there is nothing to read, and another secret is told so', async () => {
  const { process, store } = world()
  const keys = process()
  const { kid } = await keys.current()
  const stored = JSON.stringify(await store.get('holdfast-keyring00000A'))
  assert.ok(!stored.includes(kid) && !stored.includes('OKP'))
  const wrong = process({ secret: 'another secret of many characters' })
  const rejects = (call: () => unknown) =>
    assert.rejects(
      async () => call(),
      (error: unknown) => error instanceof ConfigError && error.message.startsWith('secret'),
    )
  await rejects(() => wrong.find(kid))
  await rejects(() => wrong.current())
  await rejects(() => wrong.rotate())
  assert.deepEqual(await published(keys), [kid])
})

test('onChange is called after a write, by who wrote, and waited for', async () => {
  const { process } = world()
  const heard: string[] = []
  const a = process({
    onChange: async () => {
      await settled()
      heard.push('a')
    },
  })
  const b = process({ onChange: () => void heard.push('b') })
  await a.maintain()
  assert.deepEqual(heard, ['a'])
  await b.maintain()
  assert.deepEqual(heard, ['a'])
  await b.rotate()
  assert.deepEqual(heard, ['a', 'b'])
  // It may be a second try of one that was done, and of which others did not hear.
  await b.retire('nobody')
  assert.deepEqual(heard, ['a', 'b', 'b'])
})

type Act = (keys: Keyring) => Promise<unknown>

/** The same act in several processes, their calls to the store in every order. */
async function atOnce(
  before: '1ms' | '30d',
  acts: readonly Act[],
  check: (keys: Keyring, before: string | null) => Promise<void>,
) {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const { clock, store, process } = world()
      let first: string | null = null
      if (before === '30d') {
        first = await signer(process())
        clock.advance('30d')
      }
      const scheduled = around(store, (call, run) => scheduler.schedule(Promise.resolve(), call).then(run))
      const all = acts.map((act) => act(process({ store: scheduled })))
      await scheduler.waitFor(Promise.all(all))
      await check(process(), first)
    }),
    { numRuns: 40 },
  )
}

test('requests that need the first key at once make one, by one write', async () => {
  let puts = 0
  const store = around(memoryStore(), (call, run) => (call === 'put' && puts++, run()))
  const keys = keyring({ store, secret })
  const all = await Promise.all(Array.from({ length: 20 }, () => signer(keys)))
  assert.deepEqual([new Set(all).size, puts], [1, 1])
})

test('where clocks differ a key signs before its time rather than none, and its order stays', async () => {
  const { process, clock } = world()
  const behind = process({ clock: { now: () => clock.now() - 7_200_000 } })
  const first = await signer(process())
  assert.equal(await signer(behind), first)
  await behind.rotate({ now: true })
  const [, second] = await kids(behind)
  assert.equal(await signer(process()), second)
  for (const keys of [behind, process()]) assert.ok((await knows(keys, first)) && (await knows(keys, second!)))
})

test('processes that need the first key at once make one', async () => {
  const use: Act = async (keys) => keys.current()
  await atOnce('1ms', [use, use, use, (keys) => keys.maintain()], async (keys) =>
    assert.deepEqual(await states(keys), ['current']),
  )
})

test('processes that rotate at once, on time or by hand, make one new key', async () => {
  const maintain: Act = (keys) => keys.maintain()
  await atOnce('30d', [maintain, maintain, maintain, maintain], async (keys, first) => {
    assert.deepEqual(await states(keys), ['current', 'next'])
    assert.equal((await kids(keys))[0], first)
  })
  const rotate: Act = (keys) => keys.rotate()
  await atOnce('30d', [rotate, maintain, rotate], async (keys) =>
    assert.deepEqual(await states(keys), ['current', 'next']),
  )
})

test('processes that retire one key at once leave one that signs', async () => {
  const retire: Act = async (keys) => keys.retire((await keys.list())[0]!.kid)
  await atOnce('30d', [retire, (keys) => keys.maintain()], async (keys, first) => {
    const all = await keys.list()
    assert.ok(all.every(({ kid }) => kid !== first))
    assert.equal(all.filter(({ state }) => state === 'current').length, 1)
  })
})

test('calls to rotate now that read the same keys make one new key', async () => {
  const { process, store } = world()
  const first = await signer(process())
  let waiting = 0
  let go = () => {}
  const all = new Promise<void>((resolve) => (go = resolve))
  const gate = around(store, async (call, run) => {
    if (call !== 'get' || waiting >= 3) return run()
    const value = await run()
    if (++waiting === 3) go()
    await all
    return value
  })
  await Promise.all([1, 2, 3].map(() => process({ store: gate }).rotate({ now: true })))
  const left = await process().list()
  assert.equal(left.length, 2)
  assert.deepEqual([left[0]!.kid, left[0]!.state, left[1]!.state], [first, 'retiring', 'current'])
})

test('a process that slept while it made the next key does not drop the one that others sign with', async () => {
  const { process, clock } = world({ keepFor: '1h', rotateEvery: '30d', publishBefore: '30m' })
  const [awake, asleep] = [process(), process()]
  await signer(awake)
  clock.advance('30d')
  await asleep.refresh()
  // It begins to make a key, and its clock goes on by ten days before that is written.
  const maintained = asleep.maintain()
  for (let i = 0; i < 50; i++) await Promise.resolve()
  clock.advance('10d')
  const signs = await signer(awake)
  await maintained
  await settled()
  for (const keys of [awake, asleep]) {
    await keys.refresh()
    assert.ok(await knows(keys, signs))
  }
})

test('whatever happens when: one key signs, what it signed verifies until it runs out, and retired ones never again', async () => {
  const act = fc.constantFrom('maintain', 'rotate', 'rotate now', 'retire current', 'use', 'wait 20m', 'wait 10d')
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(act, fc.nat({ max: 1 })), { maxLength: 15 }), async (acts) => {
      const { clock, process } = world({ keepFor: '1h', rotateEvery: '30d', publishBefore: '30m' })
      const both = [process(), process()]
      const signedBy = new Map<string, number>()
      const retired = new Set<string>()
      for (const [what, who] of acts) {
        const keys = both[who]!
        await keys.refresh()
        if (what === 'maintain') await keys.maintain()
        if (what === 'rotate') await keys.rotate()
        if (what === 'rotate now') await keys.rotate({ now: true })
        if (what.startsWith('wait')) clock.advance(what.slice(5) as '20m')
        const kid = await signer(keys)
        if (what === 'retire current') {
          await keys.retire(kid)
          retired.add(kid)
        } else signedBy.set(kid, clock.now())
        await settled()
        for (const each of both) {
          await each.refresh()
          assert.equal((await each.list()).filter(({ state }) => state === 'current').length, 1)
          for (const [used, at] of signedBy)
            if (clock.now() - at < 3_600_000) assert.equal(await knows(each, used), !retired.has(used))
          for (const gone of retired) assert.equal(await knows(each, gone), false)
        }
      }
    }),
    { numRuns: 60 },
  )
})
