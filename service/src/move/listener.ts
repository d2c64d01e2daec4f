// Follows one feed for as long as the move takes, and knows up to when it has heard everything.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cursor, Feed, Notice } from 'holdfast'

export interface ListenerOptions {
  /** `null`: the engine has none, and there is nothing to hear. */
  readonly feed: Feed | null
  /** Begin after this place; `null`: with the oldest notice that is kept. */
  readonly since: Cursor | null
  readonly signal: AbortSignal
  /** The step after this one is asked for when it resolves. */
  readonly hear: (notices: readonly Notice[]) => Promise<void>
  /** Notices may have been missed before those that come next. */
  readonly missed: () => void
  readonly trouble: (error: unknown) => void
}

export interface Listener {
  /** Up to where everything was heard. */
  readonly cursor: Cursor | null
  /** Resolves when everything that was durable before this call has been heard. Rejects when the move is called off. */
  heard(): Promise<void>
}

const retryMs = 1_000

export function listener({ feed, since, signal, hear, missed, trouble }: ListenerOptions): Listener {
  let cursor = since
  let completeAt = -Infinity
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const look of waiting) look()
  }
  signal.addEventListener('abort', wake)
  if (feed !== null) void follow(feed)

  async function follow(from: Feed): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const step of from.follow({ since: cursor ?? undefined, signal, now: () => performance.now() })) {
          if (step.gap) missed()
          await hear(step.notices)
          if (signal.aborted) return
          cursor = step.cursor
          completeAt = Math.max(completeAt, step.asOf)
          wake()
        }
      } catch (error) {
        if (!signal.aborted) trouble(error)
      }
      await sleep(retryMs, undefined, { signal }).catch(() => {})
    }
  }

  return {
    get cursor() {
      return cursor
    },
    heard() {
      signal.throwIfAborted()
      const at = performance.now()
      if (feed === null || completeAt >= at) return Promise.resolve()
      return new Promise((resolve, reject) => {
        const look = () => {
          if (completeAt < at && !signal.aborted) return
          waiting.delete(look)
          if (signal.aborted) reject(signal.reason as Error)
          else resolve()
        }
        waiting.add(look)
      })
    },
  }
}
