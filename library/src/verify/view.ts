// The view of endings and changes that a process has by following a feed, and as of when it is complete.
import type { Feed, FeedStep, Notice } from '../feed.ts'
import { owned } from '../internal/owned.ts'
import { unref } from '../internal/timers.ts'

export interface ViewOptions {
  readonly feed: Pick<Feed, 'follow'>
  readonly maxStalenessMs: number
  readonly maxEndings: number
  /** Elapsed time. */
  readonly now: () => number
  /** Hears of what a step or this process itself brought, after it was taken note of. */
  readonly onNotice: (notice: Notice) => void
  readonly onGap: () => void
  /** Hears of the feed going down, with the cause, and coming back (`null`). */
  readonly changed: (cause: unknown) => void
}

export interface View {
  fresh(): boolean
  ageMs(): number
  /** The epoch that a session is known to have reached: `Infinity` when it ended, 0 when nothing is known. */
  epoch(id: string): number
  note(notice: Notice): void
  /** Elapsed time as of which it is complete. */
  readonly asOf: number
  /** Elapsed time since which no notice was missed; `Infinity` before the first step. */
  readonly unbrokenSince: number
  /** Elapsed time since which every ending is remembered. */
  readonly remembersSince: number
  readonly size: number
  close(): void
}

/** A reader that has heard nothing for so many times the bound begins anew: whatever it waits for may never come. */
const silences = 5
const longestPauseMs = 1_000
/** Whatever the bound on endings: so long after a notice a look-up may still find what it ended, and has to be told. */
const rememberedMs = 10_000

export function view(o: ViewOptions): View {
  const { feed, now } = o
  /** Session → epoch; the oldest note first. */
  const epochs = new Map<string, { epoch: number; at: number }>()
  const closing = new AbortController()
  let asOf = -Infinity
  let unbrokenSince = Infinity
  let forgotUntil = -Infinity
  let heardAt = -Infinity
  let isDown = false

  function remember(id: string, epoch: number): void {
    const before = epochs.get(id)
    if (before !== undefined && before.epoch >= epoch) return
    epochs.delete(id)
    const at = now()
    epochs.set(owned(id), { epoch, at })
    for (const [oldest, noted] of epochs) {
      if (epochs.size <= o.maxEndings || at - noted.at <= rememberedMs) return
      epochs.delete(oldest)
      forgotUntil = noted.at
    }
  }

  function note(notice: Notice): void {
    if (notice.kind === 'ended') for (const id of notice.ids) remember(id, Infinity)
    else if (notice.kind === 'changed') remember(notice.id, notice.epoch)
    o.onNotice(notice)
  }

  function take(step: FeedStep): void {
    for (const notice of step.notices) if (isKnown(notice)) note(notice)
    // What a newer release says and we don't understand may have been an ending.
    const gap = step.gap || !step.notices.every(isKnown)
    heardAt = now()
    // Look-ups that begin from here on miss nothing: what is published after they began is in a later step.
    if (gap || unbrokenSince === Infinity) unbrokenSince = heardAt
    if (gap) o.onGap()
    if (step.asOf > asOf) asOf = step.asOf
    if (isDown) o.changed(null)
    isDown = false
  }

  async function follow(): Promise<void> {
    let since: string | undefined
    let pauseMs = 25
    while (!closing.signal.aborted) {
      const silence = new AbortController()
      heardAt = now()
      const watchdog = unref(
        setInterval(() => {
          if (now() - heardAt > silences * o.maxStalenessMs) silence.abort()
        }, o.maxStalenessMs),
      )
      try {
        const signal = AbortSignal.any([closing.signal, silence.signal])
        for await (const step of feed.follow({ since, signal, now })) {
          take(step)
          since = step.cursor
          pauseMs = 25
        }
        if (silence.signal.aborted) throw new Error('the feed fell silent')
      } catch (cause) {
        if (!isDown && !closing.signal.aborted) o.changed(cause)
        isDown = true
      } finally {
        clearInterval(watchdog)
      }
      if (!closing.signal.aborted) await pause(pauseMs)
      pauseMs = Math.min(pauseMs * 2, longestPauseMs)
    }
  }

  void follow()

  return {
    fresh: () => now() - asOf <= o.maxStalenessMs && !closing.signal.aborted,
    ageMs: () => now() - asOf,
    epoch: (id) => epochs.get(id)?.epoch ?? 0,
    note,
    get asOf() {
      return asOf
    },
    get unbrokenSince() {
      return unbrokenSince
    },
    get remembersSince() {
      return Math.max(unbrokenSince, forgotUntil)
    },
    get size() {
      return epochs.size
    },
    close: () => closing.abort(),
  }
}

function isKnown(notice: Notice): boolean {
  const { kind } = notice
  return kind === 'ended' ? Array.isArray(notice.ids) : kind === 'changed' || kind === 'keys'
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    unref(setTimeout(resolve, ms / 2 + (Math.random() * ms) / 2))
  })
}
