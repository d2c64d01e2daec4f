// The feed in an SQLite file: one log for all processes on a machine.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it, test } from 'node:test'
import { sqliteFeed } from '../../src/feeds/sqlite.ts'
import type { Feed, FeedStep, Notice } from '../../src/index.ts'
import { testFeed } from '../../src/testing/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'holdfast-sqlite-feed-'))
after(() => rmSync(folder, { recursive: true }))
let files = 0

function fresh(): { open(): Feed; database: DatabaseSync } {
  const path = join(folder, `${++files}.db`)
  const database = new DatabaseSync(path)
  sqliteFeed(database)
  return { open: () => sqliteFeed(new DatabaseSync(path)), database }
}

const ended = (id: string): Notice => ({ kind: 'ended', ids: [id], reason: 'ended' })
const now = () => performance.now()

/** Steps until `enough` says so. */
async function follow(
  feed: Feed,
  enough: (steps: readonly FeedStep[]) => boolean,
  since?: string,
): Promise<FeedStep[]> {
  const steps: FeedStep[] = []
  for await (const step of feed.follow({ since, signal: AbortSignal.timeout(10_000), now })) {
    steps.push(step)
    if (enough(steps)) break
  }
  return steps
}
const all = (count: number) => (steps: readonly FeedStep[]) => steps.flatMap(({ notices }) => notices).length >= count

testFeed(
  'sqlite',
  () => {
    const { open, database } = fresh()
    return { feed: open(), another: open, trim: async () => database.exec('DELETE FROM feed') }
  },
  { test },
)

describe('the feed in SQLite', () => {
  it('brings to one process what others published, in one order for all, from any place on', async () => {
    const { open } = fresh()
    const publishers = [open(), open(), open()]
    const followers = [open(), open()].map((feed) => follow(feed, all(300)))
    await Promise.all(
      publishers.map(async (feed, p) => {
        for (let i = 0; i < 100; i++) await feed.publish(ended(`${p}-${i}`))
      }),
    )
    const [one, two] = await Promise.all(followers)
    const order = one!.flatMap(({ notices }) => notices)
    assert.deepEqual(
      two!.flatMap(({ notices }) => notices),
      order,
    )
    for (const step of one!) {
      const at = one!.slice(0, one!.indexOf(step) + 1).flatMap(({ notices }) => notices).length
      if (at === 300) continue
      const rest = await follow(open(), all(300 - at), step.cursor)
      assert.deepEqual(
        rest.flatMap(({ notices }) => notices),
        order.slice(at),
      )
      assert.ok(rest.every(({ gap }) => !gap))
    }
  })

  it('says as of an instant before the read: what was published by then is there', async () => {
    const { open } = fresh()
    const [publisher, follower] = [open(), open()]
    let published = -1
    const stop = new AbortController()
    const seen = new Set<string>()
    const at: number[] = []
    const following = (async () => {
      for await (const { notices, asOf } of follower.follow({ signal: stop.signal, now })) {
        for (const notice of notices) if (notice.kind === 'ended') seen.add(notice.ids[0]!)
        at.forEach((instant, i) => assert.ok(asOf <= instant || seen.has(`${i}`), 'later than it knows'))
        if (seen.size === 50) stop.abort()
      }
    })()
    while (++published < 50) {
      await publisher.publish(ended(`${published}`))
      at.push(now())
    }
    await following
  })

  it('finds a gap where rows were trimmed, and in a history that the file does not have', async () => {
    const { open, database } = fresh()
    const feed = open()
    for (let i = 0; i < 10; i++) await feed.publish(ended(`${i}`))
    const steps = await follow(feed, all(10))
    const { cursor } = steps.at(-1)!
    const [start] = await follow(fresh().open(), () => true)
    // An hour later.
    database.exec('UPDATE feed SET at = at - 3600001')
    await feed.publish(ended('new'))
    const [upToDate] = await follow(open(), () => true, cursor)
    assert.deepEqual([upToDate!.gap, upToDate!.notices], [false, [ended('new')]])
    for (const since of [start!.cursor, '3.tag', `11.${cursor.split('.')[1]}`, '99.x', 'nonsense']) {
      const [step] = await follow(open(), () => true, since)
      assert.deepEqual([step!.gap, step!.notices], [true, [ended('9'), ended('new')]], since)
    }
    const [first] = await follow(open(), () => true)
    assert.equal(first!.gap, false, 'who was never there has missed nothing')
  })

  it('waits for a writer without blocking, and rejects when it takes too long', async () => {
    const { open, database } = fresh()
    const feed = open()
    database.exec('BEGIN IMMEDIATE')
    const published = feed.publish(ended('a'))
    await new Promise((resolve) => {
      setTimeout(resolve, 50)
    })
    database.exec('COMMIT')
    await published
    database.exec('BEGIN IMMEDIATE')
    await assert.rejects(feed.publish(ended('b')), /locked/)
    await assert.rejects(feed.publish(ended('c'), { signal: AbortSignal.abort() }), /locked/)
    database.exec('ROLLBACK')
    const [{ notices } = { notices: [] }] = await follow(feed, () => true)
    assert.deepEqual(notices, [ended('a')])
  })
})
