// A store whose calls end in time, fail fast during an outage and settle a write whose answer was lost.
import { StoreUnavailableError } from '../errors.ts'
import type { SessionRecord, Store } from '../store.ts'
import { breaker } from './breaker.ts'
import { guardedCall, reconnected, worthAnotherTry } from './guarded-call.ts'

export interface GuardOptions {
  readonly deadlineMs: number
  readonly now: () => number
  /** Hears of the store going down, with the cause, and coming back (`null`). */
  readonly changed: (cause: unknown) => void
}

/** Every rejection of the result is a `StoreUnavailableError`, or the `ConfigError` of a store that can't be used at all. */
export function guarded(store: Store, { deadlineMs, now, changed }: GuardOptions): Store {
  const attempt = guardedCall('store', deadlineMs)
  let open = 0
  const circuitChanged = (cause: unknown) => {
    // Down when the first of them opens, up when all are closed.
    if (cause !== null ? open++ === 0 : --open === 0) changed(cause)
  }
  // Apart, since an engine that refuses writes (out of memory, read-only) may still answer reads.
  const reads = breaker(now, circuitChanged)
  const writes = breaker(now, circuitChanged)
  // They may wait for what a write waits for.
  const settlings = breaker(now, circuitChanged)

  const read = (id: string) => attempt(settlings, (signal) => store.get(id, { signal, settles: true }), 1)

  return {
    get: (id, o) => attempt(reads, (signal) => store.get(id, { ...o, signal }), 2),
    delete: (ids) => attempt(writes, (signal) => store.delete(ids, { signal }), 2),
    listByUser: (userId) => attempt(reads, (signal) => store.listByUser(userId, { signal }), 2),
    async put(record, expected) {
      const write = () => attempt(writes, (signal) => store.put(record, expected, { signal }), 1)
      try {
        return await write()
      } catch (error) {
        if (!outcomeUnknown(error)) throw error
        const stored = await read(record.id)
        if (same(stored, record)) return true
        // What a conditional delete asked for holds, whoever did it.
        if (stored === null && record.expiresAt <= now()) return true
        if (!worthAnotherTry(error.cause) || (stored?.version ?? null) !== expected) throw error
        await reconnected()
        if ((await write()) || same(await read(record.id), record)) return true
        // The first write may have arrived before the second, and somebody else's after it: still unknown.
        throw error
      }
    },
  }
}

/** Whether a write may or may not have happened. An open circuit has no cause: nothing was sent. */
export function outcomeUnknown(error: unknown): error is StoreUnavailableError {
  return error instanceof StoreUnavailableError && error.cause !== undefined
}

/** The same version with the same content was written by us. */
function same(a: SessionRecord | null, b: SessionRecord): boolean {
  return (
    a !== null &&
    a.version === b.version &&
    a.data === b.data &&
    a.identity === b.identity &&
    a.credential === b.credential &&
    a.userId === b.userId &&
    a.createdAt === b.createdAt &&
    a.seenAt === b.seenAt &&
    a.expiresAt === b.expiresAt &&
    a.epoch === b.epoch
  )
}
