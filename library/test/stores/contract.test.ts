// The contract can fail: against stores that each break one promise, it goes red, and at the rule that names the promise.
import type { ScannableStore, SessionRecord, SweepableStore } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'
import { fakeClock, storeContract, type StoreUnderTest } from 'holdfast/testing'
import { testContract, type Broken } from '../broken.ts'

type FullStore = SweepableStore & ScannableStore
type Clock = ReturnType<typeof fakeClock>

/** A store that is right but for the members given. `right` is the working store underneath. */
function but(change: (right: FullStore, clock: Clock) => Partial<FullStore>): () => StoreUnderTest {
  return () => {
    const clock = fakeClock()
    const right = memoryStore({ clock })
    return { store: { ...right, ...change(right, clock) }, clock }
  }
}

const ghost = {
  userId: null,
  credential: '',
  identity: '',
  data: '',
  createdAt: 0,
  seenAt: 0,
  expiresAt: 2 ** 43,
  epoch: 0,
  version: 1,
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Puts whatever is stored aside, so that the record is written for sure. */
async function overwrite(right: FullStore, record: SessionRecord): Promise<void> {
  await right.delete([record.id])
  await right.put(record, null)
}

const broken: Broken<StoreUnderTest> = {
  'a session that is always there': {
    make: but((right) => ({ get: async (id) => (await right.get(id)) ?? { ...ghost, id } })),
    noticedBy: /what was never put is absent/,
  },
  'a put without a condition': {
    make: but((right) => ({
      async put(record) {
        await overwrite(right, record)
        return true
      },
    })),
    noticedBy: /a write needs the version that is stored/,
  },
  'a put that asks for the version but not for null': {
    make: but((right) => ({
      async put(record, expected) {
        if (expected === null) await right.delete([record.id])
        return right.put(record, expected)
      },
    })),
    noticedBy: /a first write needs the id to be free/,
  },
  'a put that revives after the end': {
    make: but((right) => ({
      async put(record, expected) {
        return (await right.put(record, expected)) || ((await right.get(record.id)) === null && right.put(record, null))
      },
    })),
    noticedBy: /a write after the end revives nothing/,
  },
  'a put that wins with an older version': {
    make: but((right) => ({
      async put(record, expected) {
        const stored = (await right.get(record.id))?.version ?? null
        return right.put(record, expected !== null && stored !== null && expected < stored ? stored : expected)
      },
    })),
    noticedBy: /a write needs the version that is stored/,
  },
  'a put that writes, and says that it did not': {
    make: but((right) => ({
      async put(record, expected) {
        await right.put(record, expected)
        return false
      },
    })),
    noticedBy: /a record comes back as it was put/,
  },
  'a put that says yes, and writes a little later': {
    make: but((right) => ({
      async put(record, expected) {
        if (((await right.get(record.id))?.version ?? null) !== expected) return false
        setImmediate(() => void right.put(record, expected))
        return true
      },
    })),
    noticedBy: /a record comes back as it was put/,
  },
  'a read, a wait and a write instead of one conditional write': {
    make: but((right) => ({
      async put(record, expected) {
        if (((await right.get(record.id))?.version ?? null) !== expected) return false
        await turn()
        await overwrite(right, record)
        return true
      },
    })),
    noticedBy: /of many writes that expect one version, one wins/,
  },
  'a conditional delete without the condition': {
    make: but((right, clock) => ({
      async put(record, expected) {
        if (record.expiresAt > clock.now()) return right.put(record, expected)
        await right.delete([record.id])
        return true
      },
    })),
    noticedBy: /a put of what has expired ends the session/,
  },
  'a conditional delete that deletes nothing': {
    make: but((right, clock) => ({
      async put(record, expected) {
        if (record.expiresAt > clock.now()) return right.put(record, expected)
        return ((await right.get(record.id))?.version ?? null) === expected
      },
    })),
    noticedBy: /a put of what has expired ends the session/,
  },
  'an expired record that blocks its id': {
    make: but((right) => {
      const used = new Set<string>()
      return {
        async put(record, expected) {
          if (expected === null && used.has(record.id)) return false
          const done = await right.put(record, expected)
          if (done) used.add(record.id)
          return done
        },
      }
    }),
    noticedBy: /an expired record counts as gone for a write/,
  },
  'expired records': {
    make: () => ({ store: memoryStore({ clock: { now: () => 0 } }), clock: fakeClock() }),
    noticedBy: /a record is absent from the instant it expires/,
  },
  'the instant of expiry itself': {
    make: () => {
      const clock = fakeClock()
      return { store: memoryStore({ clock: { now: () => clock.now() - 1 } }), clock }
    },
    noticedBy: /a record is absent from the instant it expires/,
  },
  'text that loses what some encodings lose': {
    make: but((right) => ({
      async get(id) {
        const record = await right.get(id)
        return record && { ...record, data: record.data.replace(/^\uFEFF|\0/g, '') }
      },
    })),
    noticedBy: /text comes back byte for byte/,
  },
  'data that was parsed and printed again': {
    make: but((right) => ({
      async get(id) {
        const record = await right.get(id)
        return record && { ...record, data: record.data === '' ? '' : record.data.normalize() }
      },
    })),
    noticedBy: /text comes back byte for byte/,
  },
  'a credential taken for a hash': {
    make: but((right) => ({
      put: (record, expected) =>
        right.put(
          record.credential.length === 43
            ? { ...record, credential: Buffer.from(record.credential, 'base64url').toString('base64url') }
            : record,
          expected,
        ),
    })),
    noticedBy: /text comes back byte for byte/,
  },
  'instants in seconds': {
    make: but((right) => ({
      async get(id) {
        const record = await right.get(id)
        return record && { ...record, createdAt: Math.floor(record.createdAt / 1000) * 1000 }
      },
    })),
    noticedBy: /text comes back byte for byte/,
  },
  'an empty user taken for a guest': {
    make: but((right) => ({
      put: (record, expected) => right.put({ ...record, userId: record.userId || null }, expected),
    })),
    noticedBy: /the list of a user/,
  },
  'data of at most 64 kB': {
    make: but((right) => ({
      put: (record, expected) => right.put({ ...record, data: record.data.slice(0, 65_536) }, expected),
    })),
    noticedBy: /a hundred thousand characters/,
  },
  "the caller's own object": {
    make: () => {
      const held = new Map<string, SessionRecord>()
      const right = memoryStore()
      return {
        store: {
          ...right,
          get: async (id) => held.get(id) ?? null,
          async put(record, expected) {
            held.set(record.id, record)
            return right.put(record, expected)
          },
        },
      }
    },
    noticedBy: /what the caller does to its record afterwards/,
  },
  'a cache that does not hear of others': {
    make: () => {
      const right = memoryStore()
      const cached = (): FullStore => {
        const seen = new Map<string, SessionRecord | null>()
        return {
          ...right,
          async get(id) {
            if (!seen.has(id)) seen.set(id, await right.get(id))
            return seen.get(id) ?? null
          },
          async put(record, expected) {
            const done = await right.put(record, expected)
            if (done) seen.set(record.id, record)
            return done
          },
        }
      }
      return { store: cached(), another: cached }
    },
    noticedBy: /every client sees a write as soon as it resolved/,
  },
  'a delete that minds the version': {
    make: but((right) => ({
      async delete(ids) {
        const first = []
        for (const id of ids) if (((await right.get(id))?.version ?? 1) === 1) first.push(id)
        return right.delete(first)
      },
    })),
    noticedBy: /delete answers which of the ids/,
  },
  'a delete that answers what it was asked': {
    make: but((right) => ({
      async delete(ids) {
        await right.delete(ids)
        return ids
      },
    })),
    noticedBy: /delete answers which of the ids/,
  },
  'a delete that answers nothing': {
    make: but((right) => ({
      async delete(ids) {
        await right.delete(ids)
        return []
      },
    })),
    noticedBy: /delete answers which of the ids/,
  },
  'a delete of the first id alone': {
    make: but((right) => ({ delete: (ids) => right.delete(ids.slice(0, 1)) })),
    noticedBy: /delete answers which of the ids/,
  },
  'a delete that two are told of': {
    make: but((right) => ({
      async delete(ids) {
        const there = []
        for (const id of ids) if ((await right.get(id)) !== null) there.push(id)
        await turn()
        await right.delete(ids)
        return [...new Set(there)]
      },
    })),
    noticedBy: /of many who end a session, one is told/,
  },
  'a list that misses one': {
    make: but((right) => ({ listByUser: async (userId) => (await right.listByUser(userId)).slice(0, 1) })),
    noticedBy: /the list of a user has the live sessions/,
  },
  'a list of a hundred at most': {
    make: but((right) => ({ listByUser: async (userId) => (await right.listByUser(userId)).slice(0, 100) })),
    noticedBy: /three hundred sessions/,
  },
  'a list that looks up the ids first and the records later': {
    make: but((right) => ({
      async listByUser(userId) {
        const ids = (await right.listByUser(userId)).map(({ id }) => id)
        await turn()
        return (await Promise.all(ids.map((id) => right.get(id)))).filter((record) => record !== null)
      },
    })),
    noticedBy: /a list taken while a session is replaced/,
  },
  'a list out of order': {
    make: but((right) => ({ listByUser: async (userId) => (await right.listByUser(userId)).toReversed() })),
    noticedBy: /the list of a user has the live sessions/,
  },
  'a list that does not mind upper and lower case': {
    make: but((right) => ({
      async listByUser(userId) {
        const all = [...(await right.listByUser(userId)), ...(await right.listByUser(userId.toUpperCase()))]
        return [...new Set(all)].toSorted((a, b) => b.createdAt - a.createdAt)
      },
    })),
    noticedBy: /the list of a user has the live sessions/,
  },
  'a list that shows the ended': {
    make: but((right) => {
      const listed = new Map<string, SessionRecord>()
      return {
        async put(record, expected) {
          const done = await right.put(record, expected)
          if (done) listed.set(record.id, record)
          return done
        },
        listByUser: async (userId) => [...listed.values()].filter((record) => record.userId === userId),
      }
    }),
    noticedBy: /the list of a user has the live sessions/,
  },
  'an index written after the put resolved': {
    make: but((right) => {
      const late = new Set<string>()
      return {
        async put(record, expected) {
          const done = await right.put(record, expected)
          if (done && expected === null) {
            late.add(record.id)
            setImmediate(() => late.delete(record.id))
          }
          return done
        },
        listByUser: async (userId) => (await right.listByUser(userId)).filter(({ id }) => !late.has(id)),
      }
    }),
    noticedBy: /the list has what any client put/,
  },
  'an index whose entries expire with the first end of the session': {
    make: but((right, clock) => {
      const until = new Map<string, number>()
      return {
        put(record, expected) {
          if (expected === null) until.set(record.id, record.expiresAt)
          return right.put(record, expected)
        },
        listByUser: async (userId) => (await right.listByUser(userId)).filter(({ id }) => until.get(id)! > clock.now()),
      }
    }),
    noticedBy: /a session that is kept alive stays on the list/,
  },
  'an index that believes a start that failed': {
    make: but((right, clock) => {
      const until = new Map<string, number>()
      return {
        put(record, expected) {
          if (expected === null || record.version > 1) until.set(record.id, record.expiresAt)
          return right.put(record, expected)
        },
        listByUser: async (userId) => (await right.listByUser(userId)).filter(({ id }) => until.get(id)! > clock.now()),
      }
    }),
    noticedBy: /a start that fails takes nothing from the list/,
  },
  'an index that keeps the first user': {
    make: but((right) => {
      const first = new Map<string, string | null>()
      return {
        put(record, expected) {
          if (!first.has(record.id)) first.set(record.id, record.userId)
          return right.put(record, expected)
        },
        listByUser: async (userId) => (await right.listByUser(userId)).filter(({ id }) => first.get(id) === userId),
      }
    }),
    noticedBy: /the user of a record may change/,
  },
  'a sweep that takes the living': {
    make: but((right) => ({
      async sweep(limit) {
        const { records } = await right.scan({ limit })
        await right.delete(records.map(({ id }) => id))
        return right.sweep(limit)
      },
    })),
    noticedBy: /sweep removes/,
  },
  'a sweep without a limit': {
    make: but((right) => ({ sweep: () => right.sweep(Infinity) })),
    noticedBy: /sweep removes/,
  },
  'a sweep that does nothing': { make: but(() => ({ sweep: async () => 0 })), noticedBy: /sweep removes/ },
  'a walk of one page': {
    make: but((right) => ({ scan: async (o) => ({ ...(await right.scan(o)), cursor: null }) })),
    noticedBy: /a walk sees every live record/,
  },
  'a walk that shows the expired': {
    make: but((right) => {
      const all = new Map<string, SessionRecord>()
      return {
        put(record, expected) {
          all.set(record.id, record)
          return right.put(record, expected)
        },
        scan: async () => ({ records: [...all.values()], cursor: null }),
      }
    }),
    noticedBy: /a walk sees every live record/,
  },
  'a walk that does not end': {
    make: but((right) => ({
      scan: async (o) => ({ records: (await right.scan(o)).records, cursor: o.cursor ?? '0' }),
    })),
    noticedBy: /an empty store has one empty page/,
  },
}

testContract(
  storeContract,
  broken,
  but(() => ({})),
)
