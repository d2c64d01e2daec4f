// How an ending becomes known everywhere: published first, deleted second, answered last.
import { StoreUnavailableError } from './errors.ts'
import type { EndReason } from './events.ts'
import type { Feed, Notice } from './feed.ts'
import { breaker } from './internal/breaker.ts'
import { guardedCall } from './internal/guarded-call.ts'
import { sleep, unref } from './internal/timers.ts'
import type { Store } from './store.ts'

export interface EndingsOptions {
  readonly store: Store
  readonly feed: Feed | null
  readonly deadlineMs: number
  readonly maxStalenessMs: number
  readonly now: () => number
  /** Elapsed time in ms. */
  readonly elapsed: () => number
  /** Hears of everything that this process published. */
  readonly published: (notice: Notice) => void
}

export interface Endings {
  /** Whether anybody follows: then what is announced can't be taken back. */
  readonly announces: boolean
  /**
   * Publishes, then deletes: a process that saw the notice denies the id for good, so neither a crash between the two nor a read
   * that races them can revive it. Answers the ids that were alive.
   */
  end(ids: readonly string[], reason: EndReason): Promise<readonly string[]>
  /** Publishes alone: the caller deletes. */
  announce(ids: readonly string[], reason: EndReason): Promise<void>
  /** Publishes that a session's identity changed, which was written before. */
  changed(id: string, epoch: number): Promise<void>
  /** Ends and announces the endings of the last minutes again, for whom they were lost; how many there are. */
  repeat(): number
  /** Resolves when no process that follows the feed can still accept what was ended before this was called. */
  settled(): Promise<void>
  close(): void
}

/** A notice names so many sessions at most. */
const idsPerNotice = 100
/** What a failover may have lost is younger than this. */
const repeatForMs = 300_000
const repeatAtMost = 10_000
/** Repeating must not feed on itself when gap follows gap. */
const repeatEveryMs = 5_000
const retryMs = 250

interface Ending {
  readonly ids: readonly string[]
  readonly reason: EndReason
  readonly at: number
}

export function endings(o: EndingsOptions): Endings {
  const { store, feed, elapsed } = o
  const call = guardedCall('feed', o.deadlineMs)
  const circuit = breaker(o.now, () => {})
  /** The oldest first. */
  let recent: Ending[] = []
  let repeating: ReturnType<typeof setTimeout> | null = null
  let repeatedAt = -Infinity
  const closing = new AbortController()

  async function publish(notice: Notice): Promise<void> {
    if (feed !== null) await call(circuit, (signal) => feed.publish(notice, { signal }), 2)
    o.published(notice)
  }

  async function announce(ids: readonly string[], reason: EndReason): Promise<void> {
    for (let from = 0; from < ids.length; from += idsPerNotice) {
      const some = ids.slice(from, from + idsPerNotice)
      // Kept also when publishing fails, and then repeated: it may have been written.
      if (feed !== null) keep({ ids: some, reason, at: elapsed() })
      await publish({ kind: 'ended', ids: some, reason })
    }
  }

  function keep(ending: Ending): void {
    recent.push(ending)
    if (recent.length > repeatAtMost) recent.shift()
    if (elapsed() - recent[0]!.at > 2 * repeatForMs) recent = stillRecent()
  }

  function stillRecent(): Ending[] {
    return recent.filter(({ at }) => elapsed() - at <= repeatForMs)
  }

  /** Until it is done or too old to matter: after a failover the engine may need a while. */
  async function repeatAll(): Promise<void> {
    repeatedAt = elapsed()
    for (const { ids, reason, at } of stillRecent()) {
      while (!closing.signal.aborted && elapsed() - at <= repeatForMs) {
        try {
          await publish({ kind: 'ended', ids, reason })
          await store.delete(ids)
          break
        } catch (error) {
          if (!(error instanceof StoreUnavailableError)) throw error
          await sleep(retryMs)
        }
      }
    }
  }

  function repeat(): number {
    recent = stillRecent()
    if (repeating === null && recent.length > 0) {
      const wait = Math.max(0, repeatedAt + repeatEveryMs - elapsed())
      repeating = unref(setTimeout(() => void repeatAll().finally(() => (repeating = null)), wait))
    }
    return recent.reduce((count, { ids }) => count + ids.length, 0)
  }

  return {
    announces: feed !== null,
    async announce(ids, reason) {
      try {
        await announce(ids, reason)
      } catch (error) {
        repeat()
        throw error
      }
    },
    async end(ids, reason) {
      try {
        await announce(ids, reason)
      } catch (error) {
        // Not deleted either: who tries again, perhaps elsewhere, must find it to announce it.
        repeat()
        throw error
      }
      return store.delete(ids)
    },
    changed: (id, epoch) => publish({ kind: 'changed', id, epoch }),
    repeat,
    async settled() {
      if (feed === null) return
      const until = elapsed() + o.maxStalenessMs
      // A timer may fire early.
      for (let rest; (rest = until - elapsed()) > 0;) await sleep(Math.ceil(rest) + 1)
    },
    close() {
      closing.abort()
      if (repeating !== null) clearTimeout(repeating)
    },
  }
}
