// The contract on a store with copies in memory, and what the copies may and may not do.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createSessions, type SessionRecord, type Store } from 'holdfast'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import { nearCache } from 'holdfast/stores/near-cache'
import { fakeClock, testStore } from 'holdfast/testing'

testStore(
  'near cache',
  () => {
    const clock = fakeClock(Date.now())
    const store = memoryStore({ clock })
    return { store: nearCache(store), another: () => nearCache(store), clock }
  },
  { test },
)

const record: SessionRecord = {
  id: 'A'.repeat(22),
  userId: 'ada',
  credential: 'x',
  identity: '{}',
  data: '{"cart":[]}',
  createdAt: 0,
  seenAt: 0,
  expiresAt: 2 ** 43,
  epoch: 0,
  version: 1,
}

/** Two instances on one store, each counting what it asks of it. */
function instances() {
  const far = memoryStore()
  let now = 0
  const asked = { reads: 0 }
  const counting: Store = {
    ...far,
    get: (id, o) => {
      asked.reads++
      return far.get(id, o)
    },
  }
  const elapsed = () => now
  const make = () => nearCache(counting, { elapsed })
  return { one: make(), two: make(), far, asked, elapsed, advance: (ms: number) => void (now += ms) }
}

test('a read that may lag is answered from memory while the copy is young, and no other one', async () => {
  const { one, two, asked, advance } = instances()
  await one.put(record, null)
  assert.deepEqual(await one.get(record.id, { mayLag: true }), record)
  assert.equal(asked.reads, 0)
  await two.put({ ...record, data: '{"cart":["tea"]}', version: 2 }, 1)
  assert.equal((await one.get(record.id, { mayLag: true }))?.version, 1)
  assert.equal((await one.get(record.id))?.version, 2)
  assert.equal((await one.get(record.id, { mayLag: true }))?.version, 2)
  await two.put({ ...record, version: 3 }, 2)
  advance(1001)
  assert.equal((await one.get(record.id, { mayLag: true }))?.version, 3)
})

test('a write on an old copy is refused, and the copy is gone', async () => {
  const { one, two } = instances()
  await one.put(record, null)
  await two.put({ ...record, version: 2 }, 1)
  assert.equal(await one.put({ ...record, data: '{}', version: 2 }, 1), false)
  assert.equal((await one.get(record.id, { mayLag: true }))?.version, 2)
  assert.equal((await one.get(record.id, { mayLag: true }))?.data, record.data)
})

test('what this process deleted is gone at once, also while an older read is under way', async () => {
  const { far } = instances()
  const reading = Promise.withResolvers<void>()
  const slow: Store = {
    ...far,
    async get(id, o) {
      const found = await far.get(id, o)
      await reading.promise
      return found
    },
  }
  const one = nearCache(slow)
  await far.put(record, null)
  const late = one.get(record.id, { mayLag: true })
  await one.delete([record.id])
  reading.resolve()
  await late
  assert.equal(await one.get(record.id, { mayLag: true }), null)
})

test('an answer that was overtaken by that of a newer write does not bring the older record back', async () => {
  const { far } = instances()
  const answers: (() => void)[] = []
  const late: Store = {
    ...far,
    async put(written, expected, o) {
      const answer = await far.put(written, expected, o)
      await new Promise<void>((resolve) => answers.push(resolve))
      return answer
    },
  }
  const one = nearCache(late)
  const first = one.put(record, null)
  const second = one.put({ ...record, version: 2 }, 1)
  while (answers.length < 2) await Promise.resolve()
  answers[1]!()
  await second
  answers[0]!()
  await first
  assert.equal((await one.get(record.id, { mayLag: true }))?.version, 2)
})

test('an answer that was overtaken by that of an ending does not bring the session back', async () => {
  const { far } = instances()
  const answering = Promise.withResolvers<void>()
  const late: Store = {
    ...far,
    async put(written, expected, o) {
      const answer = await far.put(written, expected, o)
      await answering.promise
      return answer
    },
  }
  const one = nearCache(late)
  const writing = one.put(record, null)
  await one.delete([record.id])
  answering.resolve()
  await writing
  assert.equal(await one.get(record.id, { mayLag: true }), null)
})

test('a copy is as old as the call that brought it, not as its answer', async () => {
  const { far, advance, ...made } = instances()
  const answering = Promise.withResolvers<void>()
  const late: Store = {
    ...far,
    async put(written, expected, o) {
      const answer = await far.put(written, expected, o)
      await answering.promise
      return answer
    },
  }
  const one = nearCache(late, { elapsed: made.elapsed })
  const writing = one.put(record, null)
  await made.two.put({ ...record, version: 2 }, 1)
  advance(1001)
  answering.resolve()
  await writing
  assert.equal((await one.get(record.id, { mayLag: true }))?.version, 2)
})

test('a store may be an object of a class', async () => {
  class Own implements Store {
    #right = memoryStore()
    get(id: string) {
      return this.#right.get(id)
    }
    put(written: SessionRecord, expected: number | null) {
      return this.#right.put(written, expected)
    }
    delete(ids: readonly string[]) {
      return this.#right.delete(ids)
    }
    listByUser(userId: string) {
      return this.#right.listByUser(userId)
    }
    sweep(limit: number) {
      return this.#right.sweep(limit)
    }
  }
  const near = nearCache(new Own())
  await near.put(record, null)
  assert.equal((await near.listByUser('ada')).length, 1)
  assert.equal(await near.sweep(10), 0)
  assert.ok(!('scan' in near))
})

test('no more copies are kept than was said', async () => {
  const { far, asked } = instances()
  const counting: Store = { ...far, get: (id, o) => (asked.reads++, far.get(id, o)) }
  const one = nearCache(counting, { maxEntries: 2 })
  const ids = ['A', 'B', 'C'].map((letter) => letter.repeat(22))
  for (const id of ids) await one.put({ ...record, id }, null)
  for (const id of ids.toReversed()) await one.get(id, { mayLag: true })
  assert.equal(asked.reads, 1)
})

test('a copy that is too old to answer from takes no memory any longer', async () => {
  const { far, elapsed, advance } = instances()
  const one = nearCache(far, { elapsed })
  await one.put(record, null)
  advance(1001)
  await one.put({ ...record, id: 'B'.repeat(22) }, null)
  advance(-1001)
  await far.delete([record.id])
  assert.equal(await one.get(record.id, { mayLag: true }), null, 'the copy was there')
})

test('whatever instances do at once, no change is lost, and what one wrote it reads', async () => {
  const steps = fc.array(fc.record({ at: fc.nat(2), item: fc.nat(99) }), { minLength: 1, maxLength: 30 })
  await fc.assert(
    fc.asyncProperty(steps, fc.scheduler(), async (all, s) => {
      const far = memoryStore()
      const delayed: Store = {
        ...far,
        get: (id, o) => s.schedule(Promise.resolve()).then(() => far.get(id, o)),
        put: (written, expected, o) =>
          s.schedule(Promise.resolve()).then(async () => {
            const answer = await far.put(written, expected, o)
            await s.schedule(Promise.resolve())
            return answer
          }),
      }
      const feed = memoryFeed()
      const make = () => createSessions({ store: nearCache(delayed, { maxAge: '1h' }), feed, deadline: '60s' })
      const apps = [make(), make(), make()]
      const starting = apps[0]!.start('ada', { data: { items: [] } })
      await s.waitFor(starting)
      const { token } = await starting
      const lost: number[] = []
      const done = Promise.all(
        all.map(async ({ at, item }) => {
          const session = await apps[at]!.open(token)
          await session.update('items', (items) => [...(items as number[]), item])
          const seen = (await (await apps[at]!.open(token)).read('items')) as number[]
          if (!seen.includes(item)) lost.push(item)
        }),
      )
      await s.waitFor(done)
      const record = (await far.listByUser('ada'))[0]!
      const { items } = JSON.parse(record.data) as { items: number[] }
      assert.deepEqual(items.toSorted(numerically), all.map(({ item }) => item).toSorted(numerically))
      assert.deepEqual(lost, [])
      for (const app of apps) app.close()
    }),
    { numRuns: 100 },
  )
})

const numerically = (a: number, b: number) => a - b
