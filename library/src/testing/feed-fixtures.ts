// Readers for the contract of feeds.
import assert from 'node:assert/strict'
import type { Cursor, Feed, FeedStep, FollowOptions, Notice } from '../feed.ts'
import type { FeedUnderTest } from './feed.ts'

/** What takes longer does not come. */
export const patienceMs = 10_000

/** What a reader read. */
export interface Seen {
  readonly steps: readonly FeedStep[]
  readonly notices: readonly Notice[]
}

export interface ReadOptions {
  since?: Cursor | undefined
  now?: (() => number) | undefined
  /** Called with each step before the next is asked for. */
  onStep?: ((step: FeedStep, seen: Seen) => Promise<void> | void) | undefined
}

/** Follows until it has read enough, and leaves. Fails when that does not come in time. */
export async function readUntil(feed: Feed, what: string, enough: (seen: Seen) => boolean, o: ReadOptions = {}) {
  const steps: FeedStep[] = []
  const notices: Notice[] = []
  const seen: Seen = { steps, notices }
  const closing = new AbortController()
  const read = async () => {
    const { since, now = () => performance.now() } = o
    for await (const step of followed(feed, { since, signal: closing.signal, now })) {
      assert.ok(step.cursor !== '' && !Number.isNaN(step.asOf), `no step of a feed: ${JSON.stringify(step)}`)
      steps.push(step)
      notices.push(...step.notices)
      await o.onStep?.(step, seen)
      if (enough(seen)) return
    }
    assert.fail(`following ended by itself, before ${what}`)
  }
  try {
    await inTime(read(), what)
  } finally {
    closing.abort()
  }
  return { ...seen, cursor: steps.at(-1)!.cursor, gap: steps.some(({ gap }) => gap) }
}

/** Follows as every caller has to: when that rejects, as it may while an engine on a busy machine is slow to answer, again from the last cursor. */
export async function* followed(feed: Feed, o: FollowOptions): AsyncIterable<FeedStep> {
  let { since } = o
  for (const until = performance.now() + patienceMs; !o.signal.aborted;) {
    try {
      for await (const step of feed.follow({ ...o, since })) {
        since = step.cursor
        yield step
      }
      return
    } catch (error) {
      if (performance.now() > until) throw error
      await pause()
    }
  }
}

/** Publishes as every caller has to: when that rejects it is unknown whether the notice was written, so again. */
export async function publish(feed: Feed, notice: Notice): Promise<void> {
  for (const until = performance.now() + patienceMs; ;) {
    try {
      return await feed.publish(notice)
    } catch (error) {
      if (performance.now() > until) throw error
      await pause()
    }
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}

/** Rejects when it takes too long. */
export async function inTime<T>(promise: Promise<T>, what: string): Promise<T> {
  const { promise: tooLong, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new assert.AssertionError({ message: `${what} did not come` })), patienceMs)
  try {
    return await Promise.race([promise, tooLong])
  } finally {
    clearTimeout(timer)
  }
}

/** The cursor of somebody who has read all there is. */
export async function cursorOf(feed: Feed): Promise<Cursor> {
  return (await readUntil(feed, 'a first step', ({ steps }) => isComplete(steps.at(-1)))).cursor
}

/** A step that is complete as of some instant; the others are slices of a long way to catch up. */
export function isComplete(step: FeedStep | undefined): boolean {
  return step !== undefined && step.asOf !== -Infinity
}

export function ended(name: string): Notice {
  return { kind: 'ended', ids: [name], reason: 'ended' }
}

/** The names that were given to `ended`, each where it came first. */
export function names(notices: readonly Notice[]): string[] {
  return [...new Set(notices.flatMap((notice) => (notice.kind === 'ended' ? notice.ids : [])))]
}

export async function publishAll(feed: Feed, all: readonly string[]): Promise<void> {
  for (const name of all) await publish(feed, ended(name))
}

/** Two clients of the same log. */
export async function clients(t: FeedUnderTest): Promise<readonly [Feed, Feed]> {
  return [t.feed, (await t.another?.()) ?? t.feed]
}

/** The next turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
