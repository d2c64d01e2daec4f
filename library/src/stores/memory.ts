// Sessions in the memory of one process: for tests, development, and services of a single process.
import type { ScannableStore, SessionRecord, SweepableStore } from '../store.ts'

/** By which clock the sessions expire. */
export interface MemoryStoreOptions {
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/**
 * Keeps sessions in this process and loses them with it. No other process sees them.
 * Expired records take memory until `sweep` is called, which `createSessions` does as it begins sessions.
 */
export function memoryStore(o: MemoryStoreOptions = {}): SweepableStore & ScannableStore {
  const clock = o.clock ?? Date
  const kept = new Map<string, Kept>()
  const idsByUser = new Map<string, Set<string>>()
  let started = 0

  function live(id: string): SessionRecord | null {
    const record = kept.get(id)?.record
    return record !== undefined && record.expiresAt > clock.now() ? record : null
  }

  function write(record: SessionRecord): void {
    const before = kept.get(record.id)
    // A copy: whoever changes its record afterwards must not change ours. Frozen: we hand out the copy itself.
    kept.set(record.id, { record: Object.freeze({ ...record }), order: before?.order ?? started++ })
    if (before?.record.userId === record.userId) return
    if (before !== undefined) unlist(before.record)
    if (record.userId === null) return
    const ids = idsByUser.get(record.userId)
    if (ids === undefined) idsByUser.set(record.userId, new Set([record.id]))
    else ids.add(record.id)
  }

  function remove(id: string): void {
    const record = kept.get(id)?.record
    if (record === undefined) return
    kept.delete(id)
    unlist(record)
  }

  function unlist({ id, userId }: SessionRecord): void {
    if (userId === null) return
    const ids = idsByUser.get(userId)
    ids?.delete(id)
    if (ids?.size === 0) idsByUser.delete(userId)
  }

  return {
    async get(id) {
      return live(id)
    },

    async put(record, expected) {
      if ((live(record.id)?.version ?? null) !== expected) return false
      if (record.expiresAt > clock.now()) write(record)
      else remove(record.id)
      return true
    },

    async delete(ids) {
      const ended = []
      for (const id of ids) {
        if (live(id) !== null) ended.push(id)
        remove(id)
      }
      return ended
    },

    async listByUser(userId) {
      const found = []
      for (const id of idsByUser.get(userId) ?? []) {
        const record = live(id)
        if (record !== null) found.push(record)
      }
      return found.sort((a, b) => b.createdAt - a.createdAt)
    },

    async sweep(limit) {
      const now = clock.now()
      let removed = 0
      for (const { record } of kept.values()) {
        if (removed >= limit) break
        if (record.expiresAt > now) continue
        remove(record.id)
        removed++
      }
      return removed
    },

    async scan({ cursor, limit }) {
      const now = clock.now()
      const after = Number(cursor ?? -1)
      const page = []
      for (const { record, order } of kept.values()) {
        if (order <= after || record.expiresAt <= now) continue
        page.push(record)
        if (page.length >= limit) return { records: page, cursor: String(order) }
      }
      return { records: page, cursor: null }
    },
  }
}

interface Kept {
  readonly record: SessionRecord
  /** Ascends along the map, so that a walk knows where it was. */
  readonly order: number
}
