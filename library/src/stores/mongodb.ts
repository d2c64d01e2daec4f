// Sessions in a MongoDB collection, through the mongodb driver 7.
import { skewMs } from '../internal/clock-skew.ts'
import type { ScannableStore, SessionRecord } from '../store.ts'

/** What `db.collection(…)` of the driver gives. */
export interface MongodbStoreCollection {
  findOne(filter: object, o: object): Promise<unknown>
  find(filter: object, o: object): { toArray(): Promise<unknown[]> }
  replaceOne(filter: object, replacement: object, o: object): Promise<unknown>
  deleteOne(filter: object, o: object): Promise<{ deletedCount: number }>
  findOneAndDelete(filter: object, o: object): Promise<unknown>
}

/** By which clock the sessions expire. */
export interface MongodbStoreOptions {
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/** A record, but that its `id` is called `_id`. */
interface SessionDocument extends Omit<SessionRecord, 'id'> {
  readonly _id: string
  /** When MongoDB removes it, by its own clock: a TTL index wants a date. */
  readonly removeAt: Date
}

/** For how long the server goes on with a call, such as one that waits for a majority that is away. */
const patienceMs = 2_000

/**
 * An ending that was acknowledged is on a majority of the members, so no failover takes it back.
 */
const writing = { writeConcern: { w: 'majority', wtimeoutMS: patienceMs } }
/**
 * A primary that was cut off does not know for some seconds that there is a new one, and a read with the concern `local` or `majority` would
 * show a session there that has been ended on the new one. `linearizable` has a majority confirm, before it answers, that this is the primary still.
 */
const reading = { readConcern: { level: 'linearizable' }, readPreference: 'primary', maxTimeMS: patienceMs }

/**
 * Keeps sessions in a MongoDB collection of its own, without a collation, with the indexes of `mongodbIndexes()`. MongoDB 5 or later as a replica set, which
 * may have one member. The client is yours; the store never closes it. Whatever its read and write concerns are, the store writes with
 * `w: 'majority'` and reads from the primary, `linearizable`, so that an ending is seen by every read that begins after
 * it was acknowledged, whatever fails over; both cost a round trip between the members. A call that finds no primary waits for one by
 * the client's `serverSelectionTimeoutMS`, 30 s unless you say less.
 *
 * Each call of the store is one call of the driver, and one more for each id that is deleted; the list of a user's sessions is a query by an index. What
 * has expired is filtered by the clock and removed by the TTL index. The machines' clocks may differ by a minute.
 *
 * A call rejects when the driver's does, such as for a document of more than 16 MB.
 */
export function mongodbStore(collection: MongodbStoreCollection, o: MongodbStoreOptions = {}): ScannableStore {
  const clock = o.clock ?? Date
  const isStill = (id: string, version: number, now: number) => ({ _id: id, version, expiresAt: { $gt: now } })

  async function get(id: string): Promise<SessionRecord | null> {
    const found = await collection.findOne({ _id: id, expiresAt: { $gt: clock.now() } }, reading)
    return found === null ? null : toRecord(found)
  }

  /** Takes a free id, or one whose session has expired: a live one does not match, and is in the way of the insertion. */
  async function start({ id, ...rest }: SessionRecord, now: number): Promise<boolean> {
    try {
      await collection.replaceOne({ _id: id, expiresAt: { $lte: now } }, stored(rest), { ...writing, upsert: true })
      return true
    } catch (error) {
      if ((error as { code?: unknown }).code === duplicateKey) return false
      throw error
    }
  }

  async function replace({ id, ...rest }: SessionRecord, expected: number, now: number): Promise<boolean> {
    const answer = await collection.replaceOne(isStill(id, expected, now), stored(rest), writing)
    return (answer as { matchedCount: number }).matchedCount === 1
  }

  async function end(id: string): Promise<boolean> {
    const ended = await collection.findOneAndDelete({ _id: id }, { ...writing, projection: { expiresAt: 1 } })
    return ended !== null && (ended as SessionDocument).expiresAt > clock.now()
  }

  return {
    get,

    async put(record, expected) {
      const now = clock.now()
      if (record.expiresAt > now) return expected === null ? start(record, now) : replace(record, expected, now)
      if (expected === null) return (await get(record.id)) === null
      return (await collection.deleteOne(isStill(record.id, expected, now), writing)).deletedCount === 1
    },

    async delete(ids) {
      const ended = await Promise.all(ids.map(end))
      return ids.filter((_, i) => ended[i])
    },

    async listByUser(userId) {
      const theirs = { userId, expiresAt: { $gt: clock.now() } }
      // In one batch, as far as it goes: the concern is that of the first.
      const found = await collection.find(theirs, { ...reading, sort: { createdAt: -1 }, batchSize: 10_000 }).toArray()
      return found.map(toRecord)
    },

    async scan({ cursor, limit }) {
      const behind = { _id: { $gt: cursor ?? '' }, expiresAt: { $gt: clock.now() } }
      const found = await collection.find(behind, { ...reading, sort: { _id: 1 }, limit, batchSize: limit }).toArray()
      const records = found.map(toRecord)
      return { records, cursor: records.length < limit ? null : (records.at(-1)?.id ?? null) }
    },
  }
}

/** The indexes that the store needs: `await collection.createIndexes(mongodbIndexes())`, which changes nothing where they are. */
export function mongodbIndexes(): { key: Record<string, 1 | -1>; expireAfterSeconds?: number }[] {
  return [{ key: { userId: 1, createdAt: -1 } }, { key: { removeAt: 1 }, expireAfterSeconds: 0 }]
}

/** E11000. */
const duplicateKey = 11_000

function stored(record: Omit<SessionRecord, 'id'>): Omit<SessionDocument, '_id'> {
  return { ...record, removeAt: new Date(record.expiresAt + skewMs) }
}

function toRecord(found: unknown): SessionRecord {
  const { _id: id, removeAt: _, ...record } = found as SessionDocument
  return { id, ...record }
}
