// A store with the latest records of this process in memory: for instances behind a balancer that sends a user to the same one.
import type { ScannableStore, SessionRecord, Store, SweepableStore } from '../store.ts'
import { elapsedClock } from '../internal/elapsed.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'

/** What a store can do, it can with copies before it. */
export type NearCached<S extends Store> = Pick<S, Extract<keyof S, keyof SweepableStore | keyof ScannableStore>>

/** How old a copy may be, and how many there may be. */
export interface NearCacheOptions {
  /** How old a copy may be that is answered from. Default 1 s, as `maxStaleness`. */
  readonly maxAge?: Duration | undefined
  /** How many copies to keep, the latest. Default 10,000. What is older than `maxAge` goes in any case, when the next one comes. */
  readonly maxEntries?: number | undefined
  /** Milliseconds of elapsed time, never going back. Default: the monotonic clock and what a suspended machine slept. */
  readonly elapsed?: (() => number) | undefined
}

interface Copy {
  /** `null`: it is gone. */
  readonly record: SessionRecord | null
  /** Elapsed time at which the call began that brought it. */
  readonly at: number
}

/**
 * `store`, but that the data of a session is read from memory while this process's copy of it is young. Together with a feed, by which the
 * identity is known anyway, a request of a user who stays on this instance then asks the store for nothing, and a change is one conditional
 * write.
 *
 * Nothing is written behind: every write is `store`'s, and what it acknowledged survives this process. A copy is never the base of a lost update,
 * since a write needs the version that is stored; a refused one drops it. Only reads that say `mayLag` are answered from copies, so what another
 * instance did to the data is seen within `maxAge`, and endings and roles as without. `ConfigError` when `maxAge` is no duration.
 */
export function nearCache<S extends Store>(store: S, o: NearCacheOptions = {}): NearCached<S> {
  const maxAgeMs = milliseconds('maxAge', o.maxAge ?? '1s')
  const { maxEntries = 10_000, elapsed = elapsedClock() } = o
  /** The one that was brought longest ago first. */
  const copies = new Map<string, Copy>()

  /** Of two calls that overlap the one that began later knows better. */
  function keep(id: string, record: SessionRecord | null, at: number): void {
    const before = copies.get(id)
    if (before !== undefined && before.at > at) return
    copies.delete(id)
    copies.set(id, { record, at })
    for (const [oldest, copy] of copies) {
      if (copies.size <= maxEntries && at - copy.at <= maxAgeMs) return
      copies.delete(oldest)
    }
  }

  const near: Store & Partial<SweepableStore & ScannableStore> = {
    async get(id, options) {
      const at = elapsed()
      const copy = options?.mayLag === true ? copies.get(id) : undefined
      if (copy !== undefined && at - copy.at <= maxAgeMs) return copy.record === null ? null : { ...copy.record }
      const record = await store.get(id, options)
      keep(id, record, at)
      return record
    },

    async put(record, expected, options) {
      const at = elapsed()
      // What is read while it is under way may be older or newer.
      copies.delete(record.id)
      const written = await store.put(record, expected, options)
      const meanwhile = copies.get(record.id)
      // Answers overtake each other, also that of an ending.
      const isLatest = meanwhile === undefined || (meanwhile.record?.version ?? Infinity) < record.version
      if (written && isLatest) keep(record.id, { ...record }, Math.max(at, meanwhile?.at ?? at))
      return written
    },

    async delete(ids, options) {
      for (const id of ids) keep(id, null, elapsed())
      const ended = await store.delete(ids, options)
      for (const id of ids) keep(id, null, elapsed())
      return ended
    },

    listByUser: (userId, options) => store.listByUser(userId, options),
  }
  // What it can do beside; a store may be an object of a class.
  const { sweep, scan } = store as Partial<SweepableStore & ScannableStore>
  if (sweep !== undefined) near.sweep = sweep.bind(store)
  if (scan !== undefined) near.scan = scan.bind(store)
  return near as unknown as NearCached<S>
}
