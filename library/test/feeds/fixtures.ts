// What the tests of feeds read and publish with.
import assert from 'node:assert/strict'
import { after } from 'node:test'
import type { Feed, FeedStep, Notice } from 'holdfast'

export const now = () => performance.now()

/** Of a follower that nobody ends from outside. */
export const forever = new AbortController().signal

export function notice(id: string): Notice {
  return { kind: 'ended', ids: [id], reason: 'ended' }
}

/** The first step of a follower. */
export async function stepOf(feed: Feed, since?: string): Promise<FeedStep> {
  for await (const step of feed.follow({ since, signal: forever, now })) return step
  return assert.fail('no step')
}

/** What takes longer does not come. */
const patienceMs = 30_000

/** Publishes as `createSessions` does: again, until it is written. */
export async function publishSurely(feed: Feed, id: string): Promise<void> {
  for (const until = now() + patienceMs; ;) {
    try {
      await feed.publish(notice(id))
      return
    } catch (error) {
      if (now() > until) throw error
      await pause()
    }
  }
}

const closings = new Set<AbortController>()
after(() => closings.forEach((closing) => closing.abort()))

/** A reader as in `createSessions`: whenever following rejects, it follows again from its last cursor. */
export function reader(feed: Feed, since?: string) {
  const steps: FeedStep[] = []
  const failures: unknown[] = []
  const closing = new AbortController()
  closings.add(closing)
  let wake = () => {}
  const follow = async () => {
    let cursor = since
    while (!closing.signal.aborted) {
      try {
        for await (const step of feed.follow({ since: cursor, signal: closing.signal, now })) {
          steps.push(step)
          cursor = step.cursor
          wake()
        }
      } catch (error) {
        failures.push(error)
        wake()
        await pause()
      }
    }
  }
  const done = follow()
  const idsOf = (some: readonly FeedStep[]) =>
    some.flatMap(({ notices }) => notices.flatMap((n) => (n.kind === 'ended' ? n.ids : [])))
  return {
    steps,
    failures,
    ids: () => idsOf(steps),
    gaps: () => steps.filter(({ gap }) => gap).length,
    /** Whether `id` was read when there was a step as of after `instant`. */
    hadRead(id: string, instant: number): boolean {
      const fresh = steps.findIndex(({ asOf }) => asOf > instant)
      return fresh >= 0 && idsOf(steps.slice(0, fresh + 1)).includes(id)
    },
    async until(what: string, isSo: () => boolean): Promise<void> {
      const giveUpAt = now() + patienceMs
      const timer = setTimeout(() => wake(), patienceMs)
      try {
        while (!isSo()) {
          assert.ok(now() < giveUpAt, `${what} did not come; the last failure: ${String(failures.at(-1))}`)
          await new Promise<void>((resolve) => (wake = resolve))
        }
      } finally {
        clearTimeout(timer)
      }
    },
    async close(): Promise<void> {
      closing.abort()
      await done
    },
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}
