// A feed in memory: for one process, in which several `Sessions` may share it.
import type { Cursor, Feed, FeedStep, Notice } from '../feed.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import { unref } from '../internal/timers.ts'

/** How far back the feed goes. */
export interface MemoryFeedOptions {
  /** How long a notice is kept for readers that are away; after that they find a gap. Default `'1h'`. */
  retention?: Duration | undefined
}

interface Entry {
  readonly at: number
  readonly notice: Notice
}

/** More than this is not kept, whatever the retention: some 20 MB. */
const keptAtMost = 100_000
const stepEveryMs = 100

/**
 * A feed for one process: share the object between its `Sessions`. Nothing outlives the process, and a cursor of another process, or
 * of the one before a restart, is a gap. A step comes at once when something is published, and every 100 ms.
 */
export function memoryFeed(o: MemoryFeedOptions = {}): Feed {
  const retentionMs = milliseconds('retention', o.retention ?? '1h')
  const history = crypto.randomUUID().slice(0, 8)
  const entries: Entry[] = []
  /** Entries before this one have aged. */
  let first = 0
  /** How many were published; the last entry is the `count`th. */
  let count = 0
  const waiting = new Set<() => void>()

  function trim(): void {
    const since = performance.now() - retentionMs
    while (first < entries.length && (entries[first]!.at < since || entries.length - first > keptAtMost)) first++
    // Seldom, and then many at once: what stays has to be moved.
    if (first > entries.length / 2) first -= entries.splice(0, first).length
  }

  function read(since: Cursor | undefined, asOf: number): FeedStep {
    trim()
    const [place, tag] = since?.split('.') ?? []
    const next = Number(place ?? 0) - (count - entries.length)
    const gap = since !== undefined && (tag !== history || next < first)
    const unread = entries.slice(since === undefined || gap ? first : next)
    return { notices: unread.map(({ notice }) => notice), cursor: end(), gap, asOf }
  }

  const end = (): Cursor => `${count}.${history}`

  /** Resolves when something is published, when the next step is due, or when nobody follows any more. */
  function news(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const settle = () => {
        waiting.delete(settle)
        signal.removeEventListener('abort', settle)
        clearTimeout(timer)
        resolve()
      }
      const timer = unref(setTimeout(settle, stepEveryMs))
      waiting.add(settle)
      signal.addEventListener('abort', settle)
    })
  }

  return {
    async publish(notice) {
      count++
      entries.push({ at: performance.now(), notice: structuredClone(notice) })
      trim()
      for (const settle of waiting) settle()
    },

    async *follow({ since, signal, now }) {
      let cursor = since
      while (!signal.aborted) {
        const step = read(cursor, now())
        cursor = step.cursor
        yield step
        if (!signal.aborted && cursor === end()) await news(signal)
      }
    },
  }
}
