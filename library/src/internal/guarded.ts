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

  async function attempt<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    circuit.enter()
    try {
      const value = await inTime(call)
      circuit.succeeded()
      return value
    } catch (cause) {
      if (cause instanceof ConfigError) throw cause
      circuit.failed(cause)
      throw new StoreUnavailableError(reason(cause), deadlineMs, cause)
    }
  }

  /** For calls that may be made twice. */
  async function idempotent<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await attempt(call)
    } catch (error) {
      if (!worthAnotherTry(error)) throw error
      return attempt(call)
    }
  }

  const read = (id: string) => attempt((signal) => store.get(id, { signal }))

  return {
    get: (id) => idempotent((signal) => store.get(id, { signal })),
    delete: (ids) => idempotent((signal) => store.delete(ids, { signal })),
    listByUser: (userId) => idempotent((signal) => store.listByUser(userId, { signal })),
    async put(record, expected) {
      const write = () => attempt((signal) => store.put(record, expected, { signal }))
      try {
        return await write()
      } catch (error) {
        if (!outcomeUnknown(error)) throw error
        const stored = await read(record.id)
        if (same(stored, record)) return true
        // What a conditional delete asked for holds, whoever did it.
        if (stored === null && record.expiresAt <= now()) return true
        if (!worthAnotherTry(error) || (stored?.version ?? null) !== expected) throw error
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
function worthAnotherTry(error: unknown): boolean {
  return outcomeUnknown(error) && !(error.cause instanceof DeadlineExceeded)
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
