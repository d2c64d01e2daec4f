// Feeds under concurrency: generated publishers and readers, who come and go, and read in their own time.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Cursor, Feed } from '../feed.ts'
import type { FeedRule, FeedUnderTest } from './feed.ts'
import { clients, ended, followed, inTime, names, publish, readUntil, turn } from './feed-fixtures.ts'

export const historyRules: readonly FeedRule[] = [
  { name: 'whoever comes and goes, each reader sees everything, in one order', check: interleavings },
]

const pause = fc.constantFrom('none', 'none', 'turn', 'while')
type Pause = 'none' | 'turn' | 'while'

/** A reader that follows for so many steps, needs its time for each, and leaves. */
interface Visit {
  readonly steps: number
  readonly pause: Pause
  readonly leaves: 'by itself' | 'by an abort'
}

const visit: fc.Arbitrary<Visit> = fc.record({
  steps: fc.integer({ min: 1, max: 3 }),
  pause,
  leaves: fc.constantFrom('by itself' as const, 'by an abort' as const),
})

const plan = fc.record({
  publishers: fc.array(fc.array(pause, { minLength: 1, maxLength: 12 }), { minLength: 2, maxLength: 3 }),
  readers: fc.array(fc.array(visit, { maxLength: 3 }), { minLength: 2, maxLength: 3 }),
})

async function interleavings(t: FeedUnderTest): Promise<void> {
  const [one, two] = await clients(t)
  const client = (i: number) => (i % 2 === 0 ? one : two)
  let runs = 0
  await fc.assert(
    fc.asyncProperty(plan, async ({ publishers, readers }) => {
      const run = `${runs++}`
      const own = publishers.map((pauses, p) => pauses.map((_, i) => `${run}/${p}/${i}`))
      const publishing = own.map(async (all, p) => {
        for (const [i, name] of all.entries()) {
          await rest(publishers[p]![i]!)
          await publish(client(p), ended(name))
        }
      })
      const reading = readers.map((visits, i) => readAll(client(i), visits, new Set(own.flat())))
      const seen = Promise.all([readAll(one, [], new Set(own.flat())), ...reading])
      const [[order, ...others]] = await Promise.all([seen, ...publishing])
      for (const all of own) assert.deepEqual(of(order, new Set(all)), all, 'not in the order of its publisher')
      for (const other of others) assert.deepEqual(other, order, 'two readers saw two orders')
    }),
    // What fails by chance of timing can't be made smaller by trying again.
    { numRuns: 12, endOnFailure: true, includeErrorInReport: true },
  )
}

/** What a reader sees that comes and goes as planned, and in the end stays until it has seen all. */
async function readAll(feed: Feed, visits: readonly Visit[], all: ReadonlySet<string>): Promise<readonly string[]> {
  const seen: string[] = []
  let since: Cursor | undefined
  for (const { steps, pause, leaves } of visits) {
    const closing = new AbortController()
    let left = steps
    const visit = async () => {
      for await (const step of followed(feed, { since, signal: closing.signal, now: () => 0 })) {
        assert.equal(step.gap, false, 'a gap, and nothing was lost')
        seen.push(...names(step.notices))
        since = step.cursor
        await rest(pause)
        if (--left > 0) continue
        if (leaves === 'by itself') break
        closing.abort()
      }
    }
    await inTime(visit(), 'the end of a visit')
  }
  const missing = new Set(all)
  for (const name of seen) missing.delete(name)
  if (missing.size > 0) {
    const rest = await readUntil(
      feed,
      `what is missing of ${[...missing].join()}`,
      ({ notices }) => {
        const now = new Set(names(notices))
        return [...missing].every((name) => now.has(name))
      },
      { since },
    )
    assert.equal(rest.gap, false, 'a gap, and nothing was lost')
    seen.push(...names(rest.notices))
  }
  return of(seen, all)
}

/** Those of a set, each where it came first. */
function of(seen: readonly string[], all: ReadonlySet<string>): readonly string[] {
  return [...new Set(seen)].filter((name) => all.has(name))
}

async function rest(pause: Pause): Promise<void> {
  if (pause === 'turn') await turn()
  if (pause === 'while') await new Promise((resolve) => setTimeout(resolve, 3))
}
