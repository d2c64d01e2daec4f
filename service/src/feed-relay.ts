// The feed as remote followers get it: one follower per process, and the latest notices kept for whoever asks.
import { randomBytes } from 'node:crypto'
import type { Cursor, Feed, FeedStep, Notice } from 'holdfast'

/** What a follower that has read up to a place is missing. */
export interface Slice {
  readonly notices: readonly Notice[]
  /** Of the last step contained: where to go on. */
  readonly cursor: Cursor
  /** Notices may have been missed before these. */
  readonly gap: boolean
  /** Everything that was durable this long ago is contained, or was read before. Elapsed ms, read when this was made; `null`: there is more. */
  readonly ageMs: number | null
}

export interface FeedRelay {
  /** To be followed, and published to, in place of the engine's: what passes here is what the relay knows. */
  readonly feed: Feed
  /** What comes after `since`, or (`null`) all that is kept; `null` before the first step of the feed. */
  read(since: Cursor | null): Slice | null
  /** Resolves as soon as there is anything after `since`, and after `ms` in any case. */
  news(since: Cursor | null, ms: number): Promise<void>
}

/** Notices kept. A follower that is further behind finds a gap. */
const keptAtMost = 10_000
/** Notices in a slice, but for whole steps. Who is further behind asks again at once. */
const sliceAtMost = 1_000
/** So long after a gap, a cursor from before it, or from another replica, is one of a history that may be lost. */
const gapLastsMs = 60_000

interface Kept extends FeedStep {
  /** Counts up for as long as the process lives. */
  readonly place: number
}

export function feedRelay(engine: Feed): FeedRelay {
  let kept: Kept[] = []
  let notices = 0
  /** Cursor → the place of its step. */
  const places = new Map<Cursor, number>()
  const waiting = new Set<() => void>()
  let now = () => 0
  let asOf = -Infinity
  /** Part of the cursors handed out: another one after each gap. */
  let history = '0'
  let gapAt = -Infinity

  function take(step: FeedStep): void {
    if (step.gap) {
      kept = []
      places.clear()
      notices = 0
      history = randomBytes(6).toString('base64url')
      gapAt = now()
    }
    if (kept.at(-1)?.cursor !== step.cursor || step.notices.length > 0) add(step)
    asOf = Math.max(asOf, step.asOf)
    if (step.notices.length > 0 || step.gap) for (const wake of waiting) wake()
  }

  function add(step: FeedStep): void {
    const place = (kept.at(-1)?.place ?? 0) + 1
    kept.push({ ...step, place })
    places.set(step.cursor, place)
    notices += step.notices.length
    while (kept.length > 1 && (notices > keptAtMost || kept.length > keptAtMost)) {
      const oldest = kept.shift()!
      notices -= oldest.notices.length
      if (places.get(oldest.cursor) === oldest.place) places.delete(oldest.cursor)
    }
  }

  /** The place of a cursor that was handed out; `undefined` when it is not kept, or not to be believed. */
  function placeOf(since: Cursor): number | undefined {
    const dot = since.indexOf('.')
    const isOfHistory = since.slice(0, dot) === history || now() - gapAt > gapLastsMs
    return isOfHistory ? places.get(since.slice(dot + 1)) : undefined
  }

  /** JSON has no Infinity. */
  function ageOf(at: number): number | null {
    return at === -Infinity ? null : now() - at
  }

  function read(since: Cursor | null): Slice | null {
    const last = kept.at(-1)
    if (last === undefined) return null
    const place = since === null ? undefined : placeOf(since)
    const from = place === undefined ? 0 : place - kept[0]!.place + 1
    let to = from
    for (let count = 0; to < kept.length && count < sliceAtMost; to++) count += kept[to]!.notices.length
    const end = kept[Math.max(to, 1) - 1]!
    return {
      notices: kept.slice(from, to).flatMap((step) => step.notices),
      cursor: `${history}.${end.cursor}`,
      gap: since !== null && place === undefined,
      // Of a slice that is not all, only what its own steps said.
      ageMs: ageOf(end === last ? asOf : end.asOf),
    }
  }

  /** A cursor that is not known may be of a replica that is ahead by a moment; it is worth waiting for. */
  function hasNews(since: Cursor | null): boolean {
    const last = kept.at(-1)
    if (last === undefined) return false
    return since === null || (placeOf(since) ?? last.place) < last.place
  }

  return {
    feed: {
      publish: (notice, o) => engine.publish(notice, o),
      async *follow(o) {
        ;({ now } = o)
        for await (const step of engine.follow(o)) {
          take(step)
          yield step
        }
      },
    },
    read,
    news(since, ms) {
      if (hasNews(since) || ms === 0) return Promise.resolve()
      return new Promise((resolve) => {
        const settle = () => {
          waiting.delete(look)
          clearTimeout(timer)
          resolve()
        }
        const look = () => {
          if (hasNews(since)) settle()
        }
        const timer = setTimeout(settle, ms)
        waiting.add(look)
      })
    },
  }
}
