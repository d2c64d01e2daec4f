// The contract on MongoDB, where MONGODB_URL names one; elsewhere only on a stand-in, which proves nothing of the engine.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { mongodbIndexes, mongodbStore, type MongodbStoreCollection } from 'holdfast/stores/mongodb'
import { fakeClock, testStore, type StoreUnderTest } from 'holdfast/testing'
import { BSON, MongoClient, MongoServerError } from 'mongodb'

const url = process.env['MONGODB_URL'] ?? ''

describe(
  'mongodb',
  { skip: url === '' && 'needs a replica set at MONGODB_URL, such as mongodb://127.0.0.1/test' },
  () => {
    const open: MongoClient[] = []
    let tests = 0

    before(async () => {
      for (let i = 0; i < 2; i++) open.push(await MongoClient.connect(url))
    })
    after(async () => {
      for (const client of open) await client.close()
    })

    const make = async (o: { clock?: ReturnType<typeof fakeClock> }): Promise<StoreUnderTest> => {
      const name = `test-${process.pid}-${tests++}`
      const [one, two] = open.map((client) => client.db().collection(name))
      await one!.createIndexes(mongodbIndexes())
      return {
        store: mongodbStore(one!, o),
        another: () => mongodbStore(two!, o),
        ...o,
        close: async () => void (await one!.drop()),
      }
    }
    testStore('mongodb', () => make({ clock: fakeClock(Date.now()) }), { test })
    testStore('mongodb, in real time', () => make({}), { test })
  },
)

// That the store asks for the right things and reads the answers rightly; that MongoDB gives those answers is for the tests above.
testStore(
  'mongodb, a stand-in',
  () => {
    const clock = fakeClock()
    const collection = standIn()
    return { store: mongodbStore(collection, { clock }), another: () => mongodbStore(collection, { clock }), clock }
  },
  { test },
)

test('every call to MongoDB says which concern it has, whatever the client says', async () => {
  const asked: object[] = []
  const store = mongodbStore(standIn((options) => asked.push(options)))
  const now = Date.now()
  const record = { id: 'a', userId: 'anna', credential: '', identity: '{}', data: '{}', createdAt: now, seenAt: now }
  const live = { ...record, expiresAt: now + 60_000, epoch: 0, version: 1 }
  await store.get('a')
  await store.listByUser('anna')
  await store.scan({ limit: 10 })
  await store.put(live, null)
  await store.put({ ...live, version: 2 }, 1)
  await store.put({ ...live, version: 3, expiresAt: 0 }, 2)
  await store.delete(['a'])
  const reads = asked.slice(0, 3) as { readConcern?: { level: string }; readPreference?: string }[]
  const writes = asked.slice(3) as { writeConcern?: { w: string } }[]
  assert.deepEqual(
    reads.map(({ readConcern, readPreference }) => [readConcern?.level, readPreference]),
    Array.from({ length: 3 }, () => ['linearizable', 'primary']),
  )
  assert.deepEqual(
    writes.map(({ writeConcern }) => writeConcern?.w),
    Array.from({ length: 4 }, () => 'majority'),
  )
})

type Stored = { _id: string } & Record<string, unknown>

/** A collection with only the operators that the store uses. What is kept has been BSON. */
function standIn(asked: (options: object) => void = () => {}): MongodbStoreCollection {
  const kept = new Map<string, Uint8Array>()
  const matching = (filter: object) =>
    [...kept.values()]
      .map((bytes) => BSON.deserialize(bytes) as Stored)
      .filter((found) => Object.entries(filter).every(([name, condition]) => matches(found[name], condition)))
  return {
    async findOne(filter, o) {
      asked(o)
      return matching(filter)[0] ?? null
    },
    find(filter, o) {
      asked(o)
      const { sort, limit = Infinity } = o as { sort: Record<string, 1 | -1>; limit?: number }
      const [[by, direction]] = Object.entries(sort) as [[string, 1 | -1]]
      const order = (a: Stored, b: Stored) => ((a[by] as string) < (b[by] as string) ? -direction : direction)
      return { toArray: async () => matching(filter).toSorted(order).slice(0, limit) }
    },
    async replaceOne(filter, replacement, o) {
      asked(o)
      const { _id } = filter as Stored
      const matchedCount = matching(filter).length
      const { upsert = false } = o as { upsert?: boolean }
      if (matchedCount === 0 && upsert && kept.has(_id)) throw new MongoServerError({ message: 'E11000', code: 11_000 })
      if (matchedCount === 1 || upsert) kept.set(_id, BSON.serialize({ _id, ...replacement }))
      return { matchedCount }
    },
    async deleteOne(filter, o) {
      asked(o)
      const deletedCount = matching(filter).length
      if (deletedCount === 1) kept.delete((filter as Stored)['_id'])
      return { deletedCount }
    },
    async findOneAndDelete(filter, o) {
      asked(o)
      const found = matching(filter)[0] ?? null
      kept.delete((filter as Stored)['_id'])
      return found
    },
  }
}

function matches(value: unknown, condition: unknown): boolean {
  if (typeof condition !== 'object' || condition === null) return value === condition
  return Object.entries(condition).every(([operator, bound]) => {
    if (operator === '$gt') return (value as number) > bound
    assert.equal(operator, '$lte')
    return (value as number) <= bound
  })
}
