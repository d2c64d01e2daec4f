// A store whose calls end in time, fail fast during an outage and settle a write whose answer was lost.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { ConfigError, StoreUnavailableError, type SessionRecord, type Store } from '../../src/index.ts'
import { guarded } from '../../src/internal/guarded.ts'
import { memoryStore } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/clock.ts'
import { around, record, settled, stayAwake } from '../fixtures.ts'

const awake = stayAwake()
after(() => awake.sleep())

/** What becomes of one call: it works, fails before or after its effect, or never answers, before or after it. */
type Fate = 'works' | 'fails' | 'loses the answer' | 'hangs' | 'works and hangs' | 'arrives late'

/** A guarded memory store whose calls meet `fates` in turn, and work from then on. */
function fated(fates: readonly Fate[], deadlineMs = 20) {
  const clock = fakeClock()
  const engine = memoryStore({ clock })
  const left = [...fates]
  const calls: (keyof Store)[] = []
  const late: (() => Promise<unknown>)[] = []
  const heard: unknown[] = []
  const faulty = around(engine, async (call, run) => {
    calls.push(call)
    switch (left.shift() ?? 'works') {
      case 'works':
        return run()
      case 'fails':
        throw new Error('connection lost')
      case 'loses the answer':
        await run()
        throw new Error('connection lost')
      case 'hangs':
        return new Promise(() => {})
      case 'works and hangs':
        await run()
        return new Promise(() => {})
      case 'arrives late':
        late.push(run)
        return new Promise(() => {})
    }
  })
  const store = guarded(faulty, { deadlineMs, now: clock.now, changed: (cause) => heard.push(cause) })
  return { clock, engine, store, calls, heard, late }
}

const unavailable = (error: unknown) =>
  error instanceof StoreUnavailableError && error.statusCode === 503 && error.headers['Retry-After'] === '1'

test('a store that hangs is unavailable after the deadline, for every call', async () => {
  for (const call of [
    (store: Store) => store.get('a'),
    (store: Store) => store.put(record(), null),
    (store: Store) => store.delete(['a']),
    (store: Store) => store.listByUser('ada'),
  ]) {
    const { store } = fated(Array<Fate>(10).fill('hangs'))
    await assert.rejects(call(store), unavailable)
  }
})

test('a read that fails is tried once more, a read that hangs is not', async () => {
  const failing = fated(['fails'])
  assert.equal(await failing.store.get('a'), null)
  assert.deepEqual(failing.calls, ['get', 'get'])
  const hanging = fated(['hangs'])
  await assert.rejects(hanging.store.get('a'), unavailable)
  assert.deepEqual(hanging.calls, ['get'])
})

test('an ending that fails is tried once more', async () => {
  const { store, engine, calls } = fated(['works', 'fails'])
  await store.put(record(), null)
  assert.deepEqual(await store.delete([record().id]), [record().id])
  assert.equal(await engine.get(record().id), null)
  assert.deepEqual(calls, ['put', 'delete', 'delete'])
})

test('a write whose answer was lost is found by reading, and not made again', async () => {
  for (const lost of ['loses the answer', 'works and hangs'] as const) {
    const { store, engine, calls } = fated([lost])
    assert.equal(await store.put(record(), null), true)
    assert.deepEqual(calls, ['put', 'get'])
    assert.deepEqual(await engine.get(record().id), record())
  }
})

test('a write that did not arrive is made again', async () => {
  const { store, engine, calls } = fated(['fails'])
  assert.equal(await store.put(record(), null), true)
  assert.deepEqual(calls, ['put', 'get', 'put'])
  assert.deepEqual(await engine.get(record().id), record())
})

test('a write that hangs and is not there is not made again: it may still arrive', async () => {
  const { store, calls } = fated(['arrives late'])
  await assert.rejects(store.put(record(), null), unavailable)
  assert.deepEqual(calls, ['put', 'get'])
})

test('a write that was lost while somebody else wrote is not forced on them', async () => {
  const { store, engine } = fated(['works', 'loses the answer'])
  await store.put(record(), null)
  const ours = record({ version: 2, data: '{"a":"ours"}' })
  const put = store.put(ours, 1)
  await engine.put(record({ version: 3, data: '{"a":"theirs"}' }), 2)
  await assert.rejects(put, unavailable)
  assert.equal((await engine.get(record().id))!.data, '{"a":"theirs"}')
})

test('a write of somebody else with the same version is not taken for ours, whatever differs', async () => {
  for (const theirs of [
    { data: '{"a":1}' },
    { identity: '{"r":[]}' },
    { credential: 'other' },
    { userId: null },
    { createdAt: 1 },
    { seenAt: 1 },
    { expiresAt: record().expiresAt + 1 },
    { epoch: 2 },
  ]) {
    const { store, engine } = fated(['works', 'fails'])
    await store.put(record(), null)
    const put = store.put(record({ version: 2 }), 1)
    await engine.put(record({ version: 2, ...theirs }), 1)
    await assert.rejects(put, unavailable, JSON.stringify(theirs))
  }
})

test('a conditional delete whose answer was lost is done when the record is gone', async () => {
  const { store, engine } = fated(['works', 'loses the answer'])
  await store.put(record(), null)
  assert.equal(await store.put(record({ version: 2, expiresAt: 0 }), 1), true)
  assert.equal(await engine.get(record().id), null)
})

test('a conflict is an answer, not a failure', async () => {
  const { store, heard } = fated([])
  await store.put(record(), null)
  for (let i = 0; i < 10; i++) assert.equal(await store.put(record(), null), false)
  assert.deepEqual(heard, [])
})

test('whatever is lost on the way, an acknowledged change is there once, and no change is there twice', async () => {
  const fate = fc.constantFrom<Fate>(
    'works',
    'works',
    'fails',
    'loses the answer',
    'hangs',
    'works and hangs',
    'arrives late',
  )
  await fc.assert(
    fc.asyncProperty(fc.array(fate, { maxLength: 12 }), async (fates) => {
      const { store, engine, clock, late } = fated(fates, 5)
      await engine.put(record({ data: '' }), null)
      const acknowledged: number[] = []
      for (let i = 0; i < 6; i++) {
        try {
          let current: SessionRecord
          do current = (await store.get(record().id))!
          while (
            !(await store.put(
              { ...current, data: `${current.data}${i}`, version: current.version + 1 },
              current.version,
            ))
          )
          acknowledged.push(i)
        } catch (error) {
          assert.ok(error instanceof StoreUnavailableError, String(error))
          clock.advance('1s')
        }
        for (const arrive of late.splice(0)) await arrive()
      }
      const stored = (await engine.get(record().id))!.data
      for (let i = 0; i < 6; i++) {
        const times = stored.split(String(i)).length - 1
        assert.ok(
          times <= 1 && (times === 1 || !acknowledged.includes(i)),
          `change ${i} is there ${times} times: ${stored}`,
        )
      }
    }),
    { numRuns: 60 },
  )
})

test('after failures in a row the store is left alone for a while, then asked again', async () => {
  const { store, calls, clock, heard } = fated(Array<Fate>(5).fill('hangs'), 5)
  for (let i = 0; i < 5; i++) await assert.rejects(store.get('a'), unavailable)
  assert.equal(heard.length, 1)
  calls.length = 0
  await assert.rejects(store.get('a'), (error) => error instanceof StoreUnavailableError && error.retryAfterMs === 500)
  assert.deepEqual(calls, [])
  clock.advance('500ms')
  assert.equal(await store.get('a'), null)
  assert.equal(await store.put(record(), null), true)
  assert.deepEqual(heard.at(-1), null)
})

test('an engine that refuses writes still answers reads', async () => {
  const heard: unknown[] = []
  const memory = memoryStore()
  const full = { ...memory, put: () => Promise.reject(new Error('OOM')) }
  const store = guarded(full, { deadlineMs: 50, now: () => record().createdAt, changed: (cause) => heard.push(cause) })
  for (let i = 0; i < 12; i++) await assert.rejects(store.put(record(), null), unavailable)
  assert.equal(heard.length, 1)
  for (let i = 0; i < 12; i++) assert.equal(await store.get('a'), null)
})

test('the signal is aborted when nobody waits any more', async () => {
  let signal: AbortSignal | undefined
  const hanging = {
    ...memoryStore(),
    get: (_: string, o?: { signal?: AbortSignal | undefined }) => ((signal = o?.signal), new Promise<never>(() => {})),
  }
  const store = guarded(hanging, { deadlineMs: 10, now: Date.now, changed: () => {} })
  await assert.rejects(store.get('a'), unavailable)
  assert.equal(signal!.aborted, true)
})

test('a store that can not be used at all says so itself', async () => {
  const broken = around(memoryStore(), async () => {
    throw new ConfigError('the server is too old')
  })
  const heard: unknown[] = []
  const store = guarded(broken, { deadlineMs: 1000, now: Date.now, changed: (cause) => heard.push(cause) })
  for (let i = 0; i < 10; i++) await assert.rejects(store.get('a'), ConfigError)
  await assert.rejects(store.put(record(), null), ConfigError)
  assert.deepEqual(heard, [])
})

test('an answer that comes after the deadline disturbs nothing', async () => {
  const { promise, resolve } = Promise.withResolvers<null>()
  const store = guarded({ ...memoryStore(), get: () => promise }, { deadlineMs: 5, now: Date.now, changed: () => {} })
  await assert.rejects(store.get('a'), unavailable)
  resolve(null)
  await settled()
})
