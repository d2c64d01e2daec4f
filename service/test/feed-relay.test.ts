// What the relay keeps of the feed, and what it says to followers that have read up to some place of it.
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { Feed, FeedStep, Notice } from 'holdfast'
import { feedRelay, type FeedRelay, type Slice } from '../src/feed-relay.ts'

/** A relay of steps that the test gives, at instants that the test says. */
function scripted(): {
  relay: FeedRelay
  step(o: Partial<FeedStep> & { cursor: string }): Promise<void>
  at(ms: number): void
} {
  let now = 0
  let give: (step: FeedStep) => void = () => {}
  const engine: Feed = {
    publish: async () => {},
    async *follow() {
      for (;;) {
        yield await new Promise<FeedStep>((resolve) => {
          give = resolve
        })
      }
    },
  }
  const relay = feedRelay(engine)
  const steps = relay.feed.follow({ signal: new AbortController().signal, now: () => now })[Symbol.asyncIterator]()
  return {
    relay,
    async step(o) {
      const taken = steps.next()
      give({ notices: [], gap: false, asOf: now, ...o })
      assert.equal((await taken).value.cursor, o.cursor)
    },
    at: (ms) => (now = ms),
  }
}

const ended = (id: string): Notice => ({ kind: 'ended', ids: [id], reason: 'ended' })
const idsOf = ({ notices }: Slice) => notices.flatMap((notice) => (notice.kind === 'ended' ? notice.ids : []))

it('says nothing before the first step', async () => {
  const { relay, step } = scripted()
  assert.equal(relay.read(null), null)
  await step({ cursor: '0-0' })
  const { ageMs: _, ...slice } = relay.read(null)!
  assert.deepEqual(slice, { notices: [], cursor: '0.0-0', gap: false })
})

it('gives what came after a cursor, once', async () => {
  const { relay, step } = scripted()
  await step({ cursor: '1', notices: [ended('a')] })
  const first = relay.read(null)!
  assert.deepEqual([idsOf(first), first.gap], [['a'], false])
  assert.deepEqual(idsOf(relay.read(first.cursor)!), [])
  await step({ cursor: '2', notices: [ended('b')] })
  await step({ cursor: '3', notices: [ended('c'), ended('d')] })
  const second = relay.read(first.cursor)!
  assert.deepEqual([idsOf(second), second.gap], [['b', 'c', 'd'], false])
  assert.deepEqual(idsOf(relay.read(second.cursor)!), [])
})

it('says as of when, and grows old when the feed says nothing', async () => {
  const { relay, step, at } = scripted()
  at(1000)
  await step({ cursor: '1', asOf: 990 })
  assert.equal(relay.read(null)!.ageMs, 10)
  at(5000)
  assert.equal(relay.read(null)!.ageMs, 4010)
  await step({ cursor: '1', asOf: 4900 })
  assert.equal(relay.read('0.1')!.ageMs, 100)
  // A step that comes late proves nothing newer.
  await step({ cursor: '1', asOf: 4000 })
  assert.equal(relay.read('0.1')!.ageMs, 100)
})

it('calls a cursor that it does not have a gap, and gives all it has', async () => {
  const { relay, step } = scripted()
  await step({ cursor: '1', notices: [ended('a')] })
  for (const since of ['0.7', 'x.7', '', '0.', '0.__proto__']) {
    const slice = relay.read(since)!
    assert.deepEqual([idsOf(slice), slice.gap], [['a'], true], since)
  }
})

it('forgets the oldest, and says so to whoever was there', async () => {
  const { relay, step } = scripted()
  await step({ cursor: 'first', notices: [ended('a')] })
  const { cursor } = relay.read(null)!
  for (let i = 0; i < 11; i++) {
    await step({ cursor: `${i}`, notices: Array.from({ length: 1000 }, (_, j) => ended(`${i}-${j}`)) })
  }
  const slice = relay.read(cursor)!
  assert.equal(slice.gap, true)
  assert.equal(slice.notices.length, 1000)
  assert.deepEqual(idsOf(slice)[0], '1-0')
})

it('gives much in pieces, each as old as its own last step', async () => {
  const { relay, step, at } = scripted()
  for (let i = 1; i <= 5; i++) {
    at(i * 1000)
    await step({ cursor: `${i}`, notices: Array.from({ length: 600 }, (_, j) => ended(`${i}-${j}`)) })
  }
  const seen: string[] = []
  const ages: (number | null)[] = []
  for (let since: string | null = null; seen.length < 3000;) {
    const slice: Slice = relay.read(since)!
    assert.equal(slice.gap, false)
    seen.push(...idsOf(slice))
    ages.push(slice.ageMs)
    since = slice.cursor
  }
  assert.equal(new Set(seen).size, 3000)
  assert.deepEqual(ages, [3000, 1000, 0])
})

it('passes a gap on to whoever read before it, whatever cursor comes back after it', async () => {
  const { relay, step, at } = scripted()
  await step({ cursor: '1', notices: [ended('a')] })
  const { cursor } = relay.read(null)!
  await step({ cursor: '2', notices: [ended('lost')] })
  await step({ cursor: '1', notices: [ended('a')], gap: true })
  const after = relay.read(cursor)!
  assert.deepEqual([idsOf(after), after.gap], [['a'], true])
  assert.equal(relay.read(after.cursor)!.gap, false)
  // By then what was lost is published again; a cursor of another replica is as good as one's own.
  at(60_001)
  assert.equal(relay.read('0.1')!.gap, false)
  assert.equal(relay.read('0.2')!.gap, true)
})

it('tells of news at once, and of none when the wait is over', async () => {
  const { relay, step } = scripted()
  await step({ cursor: '1' })
  const news = relay.news('0.1', 60_000)
  await step({ cursor: '1' })
  await step({ cursor: '2', notices: [ended('a')] })
  await news
  await relay.news('0.1', 60_000)
  await relay.news(null, 60_000)
  await relay.news('0.2', 1)
  // Of a replica that is ahead: it comes.
  let told = false
  const ahead = relay.news('0.3', 60_000).then(() => (told = true))
  await step({ cursor: '3', notices: [ended('b')] })
  assert.equal(told, false)
  await step({ cursor: '4', notices: [ended('c')] })
  await ahead
  assert.deepEqual(idsOf(relay.read('0.3')!), ['c'])
})
