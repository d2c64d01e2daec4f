// A store whose calls end in time, fail fast during an outage and settle a write whose answer was lost.
import { ConfigError, StoreUnavailableError } from '../errors.ts'
import type { SessionRecord, Store } from '../store.ts'
import { breaker } from './breaker.ts'
import { deadline, DeadlineExceeded } from './deadline.ts'

export interface GuardOptions {
  readonly deadlineMs: number
  readonly now: () => number
  /** Hears of the store going down, with the cause, and coming back (`null`). */
  readonly changed: (cause: unknown) => void
}

/** Every rejection of the result is a `StoreUnavailableError`, or the `ConfigError` of a store that can't be used at all. */
export function guarded(store: Store, { deadlineMs, now, changed }: GuardOptions): Store {
  const inTime = deadline(deadlineMs)
  const circuit = breaker(now, changed)

  /** Only calls that may be made twice get two attempts. */
  async function attempt<T>(call: (signal: AbortSignal) => Promise<T>, attempts: 1 | 2): Promise<T> {
    circuit.enter()
    try {
      const value = await inTime(call)
      circuit.succeeded()
      return value
    } catch (cause) {
      if (cause instanceof ConfigError) throw cause
      circuit.failed(cause)
      if (attempts === 2 && worthAnotherTry(cause)) return attempt(call, 1)
      throw new StoreUnavailableError(reason(cause), deadlineMs, cause)
    }
  }

  const read = (id: string) => attempt((signal) => store.get(id, { signal }), 1)

  return {
    get: (id) => attempt((signal) => store.get(id, { signal }), 2),
    delete: (ids) => attempt((signal) => store.delete(ids, { signal }), 2),
    listByUser: (userId) => attempt((signal) => store.listByUser(userId, { signal }), 2),
    async put(record, expected) {
      const write = () => attempt((signal) => store.put(record, expected, { signal }), 1)
      try {
        return await write()
      } catch (error) {
        if (!outcomeUnknown(error)) throw error
        const stored = await read(record.id)
        if (same(stored, record)) return true
        // What a conditional delete asked for holds, whoever did it.
        if (stored === null && record.expiresAt <= now()) return true
        if (!worthAnotherTry(error.cause) || (stored?.version ?? null) !== expected) throw error
        // The first write may still arrive before the second: then the second conflicts with our own.
        return (await write()) || same(await read(record.id), record)
      }
    },
  }
}

/** An open circuit has no cause: nothing was sent. */
function outcomeUnknown(error: unknown): error is StoreUnavailableError {
  return error instanceof StoreUnavailableError && error.cause !== undefined
}

/** Engines reject what is in flight when they find a new primary; waiting out a second deadline helps nobody. */
function worthAnotherTry(cause: unknown): boolean {
  return !(cause instanceof DeadlineExceeded)
}

function reason(cause: unknown): string {
  return cause instanceof DeadlineExceeded ? `the store gave ${cause.message}` : 'the store failed'
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
