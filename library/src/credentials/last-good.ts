// What was last read from somewhere else: believed while it is young, kept when reading fails, and read no more often than it should.
import { after } from './after.ts'

export interface LastGoodOptions<T> {
  readonly read: () => Promise<T>
  /** Older than half of it, it is read again in the background; older than it, whoever asks waits for that. */
  readonly maxAgeMs: number
  /** Between two attempts, from the beginning of one to the beginning of the next, but for `refresh`. */
  readonly cooldownMs: number
  /** Elapsed time in ms. */
  readonly elapsed: () => number
}

export interface LastGood<T> {
  /** At once when it is young enough. Rejects only when nothing was ever read. */
  get(): T | Promise<T>
  /** For who misses something in it: read anew, if the last attempt is long enough ago. Rejects when the last attempt failed. */
  newer(): T | Promise<T>
  /** By a read that begins now. Rejects when it fails, and what there was is kept. */
  refresh(): Promise<T>
}

export function lastGood<T>({ read, maxAgeMs, cooldownMs, elapsed }: LastGoodOptions<T>): LastGood<T> {
  let good: { readonly value: T; readonly asOf: number } | null = null
  let reading: Promise<T> | null = null
  let triedAt = -Infinity
  let failure: unknown = null

  async function attempt(): Promise<T> {
    const asOf = (triedAt = elapsed())
    try {
      const value = await read()
      good = { value, asOf }
      failure = null
      return value
    } catch (error) {
      failure = error
      throw error
    } finally {
      reading = null
    }
  }

  /** One for all who ask meanwhile. */
  function shared(): Promise<T> {
    reading ??= attempt()
    return reading
  }

  function newer(): T | Promise<T> {
    if (reading !== null || elapsed() - triedAt >= cooldownMs) return shared()
    return failure === null ? good!.value : Promise.reject(failure as Error)
  }

  return {
    newer,
    get() {
      if (good === null) return newer()
      const { value, asOf } = good
      const age = elapsed() - asOf
      if (age < maxAgeMs / 2) return value
      const next = newer()
      const kept = next instanceof Promise ? next.catch(() => value) : next
      return age < maxAgeMs ? value : kept
    },
    async refresh() {
      // One under way may have read before whatever it was that asks for this.
      await reading?.catch(() => {})
      return shared()
    },
  }
}

/** What `pick` finds in it, or in a newer one. */
export function found<T, V>(last: LastGood<T>, pick: (value: T) => V | null): V | null | Promise<V | null> {
  return after<T, V | null>(last.get(), (value) => pick(value) ?? after<T, V | null>(last.newer(), pick))
}
