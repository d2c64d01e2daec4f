// What every feed owes, rule by rule.
import assert from 'node:assert/strict'
import type { Feed, FeedStep, Notice } from '../feed.ts'
import type { FeedRule, FeedUnderTest } from './feed.ts'
import {
  clients,
  cursorOf,
  ended,
  inTime,
  isComplete,
  names,
  patienceMs,
  publish,
  publishAll,
  readUntil,
  turn,
} from './feed-fixtures.ts'

const abc = ['a', 'b', 'c']
const has = (name: string) => (seen: { notices: readonly Notice[] }) => names(seen.notices).includes(name)

const rules: Record<string, (t: FeedUnderTest) => Promise<void>> = {
  async 'a notice comes back as it was published'({ feed }) {
    const many = Array.from({ length: 500 }, (_, i) => `${i}-${'x'.repeat(20)}`)
    const notices: readonly Notice[] = [
      { kind: 'ended', ids: ['a"\\\'\n', '日本🛒'], reason: 'signed-out' },
      { kind: 'ended', ids: many, reason: 'limit' },
      { kind: 'changed', id: 'b', epoch: 2 ** 40 },
      { kind: 'keys' },
    ]
    for (const notice of notices) await feed.publish(notice)
    const seen = await readUntil(feed, 'all four notices', (seen) => seen.notices.length >= 4)
    assert.deepEqual(seen.notices, notices)
  },

  async 'what was published before anybody followed is there, for every client'(t) {
    const [one, two] = await clients(t)
    await publishAll(one, abc)
    for (const feed of [two, one]) {
      const seen = await readUntil(feed, 'what was published before', ({ steps }) => isComplete(steps.at(-1)))
      assert.deepEqual(names(seen.notices), abc)
      assert.equal(seen.gap, false, 'a first follow is no gap')
    }
  },

  async 'notices come in the order in which they were published, whoever published them'(t) {
    const [one, two] = await clients(t)
    const all = Array.from({ length: 30 }, (_, i) => `n${i}`)
    const publishing = async () => {
      for (const [i, name] of all.entries()) await publish(i % 3 === 0 ? two : one, ended(name))
    }
    const [seen] = await Promise.all([readUntil(one, 'the last notice', has('n29')), publishing()])
    assert.deepEqual(names(seen.notices), all)
    assert.deepEqual(names((await readUntil(two, 'the last notice', has('n29'))).notices), all)
  },

  async 'of many that are published at once, none is lost'(t) {
    const [one, two] = await clients(t)
    const all = Array.from({ length: 60 }, (_, i) => `n${i}`)
    await Promise.all(all.map((name, i) => publish(i % 2 === 0 ? one : two, ended(name))))
    const seen = await readUntil(one, 'a complete step', ({ steps }) => isComplete(steps.at(-1)))
    assert.deepEqual(names(seen.notices).sort(), all.sort())
  },

  async 'a step that is a slice of a long way is not complete as of when it was read'({ feed }) {
    let ticks = 0
    const all = Array.from({ length: 2_500 }, (_, i) => `n${i}`)
    for (let from = 0; from < all.length; from += 50)
      await Promise.all(all.slice(from, from + 50).map((name) => publish(feed, ended(name))))
    ticks++
    const seen = new Set<string>()
    await readUntil(feed, 'all of many', () => seen.size === all.length, {
      now: () => ticks,
      onStep({ asOf, notices }) {
        for (const name of names(notices)) seen.add(name)
        assert.ok(asOf < 1 || seen.size === all.length, `as of ${asOf} with ${seen.size} of ${all.length}`)
      },
    })
  },

  async 'a step as of an instant holds what was published before it, or an earlier step does'(t) {
    const [one, two] = await clients(t)
    // A clock that goes on with each publish that resolved: what was resolved at an instant before `asOf` was there when the read began.
    let ticks = 0
    const resolvedAt = new Map<string, number>()
    const publishing = async (feed: Feed, prefix: string) => {
      for (let i = 0; i < 40; i++) {
        await publish(feed, ended(`${prefix}${i}`))
        resolvedAt.set(`${prefix}${i}`, ticks++)
        await turn()
      }
    }
    const reader = (feed: Feed) =>
      readUntil(feed, 'a step as of after the last publish', ({ steps }) => steps.at(-1)!.asOf >= 80, {
        now: () => ticks,
        onStep({ asOf }, { notices }) {
          assert.ok(asOf <= ticks, 'asOf is not a reading of now')
          const seen = new Set(names(notices))
          const missing = [...resolvedAt].filter(([name, at]) => at < asOf && !seen.has(name))
          assert.deepEqual(missing, [], `as of ${asOf} there should be more`)
        },
      })
    await Promise.all([publishing(one, 'a'), publishing(two, 'b'), reader(one), reader(two)])
  },

  async 'steps come when nothing is published, each as of later than the one before'({ feed }) {
    const closing = new AbortController()
    const instants: number[] = []
    const read = async () => {
      let cameAt = performance.now()
      // Nothing is the matter here, so following may not reject either.
      for await (const { asOf } of feed.follow({ signal: closing.signal, now: () => performance.now() })) {
        const elapsed = performance.now() - cameAt
        cameAt += elapsed
        assert.ok(elapsed < 1_000, `a step came only after ${elapsed} ms`)
        if (instants.push(asOf) === 5) return
      }
      assert.fail('following ended by itself')
    }
    try {
      await inTime(read(), 'five steps without a notice')
    } finally {
      closing.abort()
    }
    for (const [i, asOf] of instants.slice(1).entries()) assert.ok(asOf > instants[i]!, `${asOf} > ${instants[i]}`)
  },

  async 'who comes back with a cursor reads on from there'(t) {
    const [one, two] = await clients(t)
    const empty = await cursorOf(one)
    await publishAll(one, abc)
    const seen = await readUntil(one, 'c', has('c'), { since: empty })
    assert.deepEqual(names(seen.notices), abc)
    await publishAll(two, ['d', 'e'])
    for (const feed of [one, two]) {
      const later = await readUntil(feed, 'e', has('e'), { since: seen.cursor })
      assert.deepEqual(names(later.notices).slice(-2), ['d', 'e'])
      assert.ok(!seen.gap && !later.gap, 'a gap, and nothing was lost')
    }
  },

  async 'leaving ends the iteration'({ feed }) {
    const follower = feed.follow({ signal: new AbortController().signal, now: () => 0 })[Symbol.asyncIterator]()
    await inTime(follower.next(), 'a first step')
    await inTime(follower.return!(), 'the end')
    assert.equal((await inTime(follower.next(), 'the end')).done, true)
  },

  async 'an abort ends the iteration, without an error'({ feed }) {
    const end = async (abortAt: 'the beginning' | 'once' | 'a step' | 'waiting') => {
      const closing = new AbortController()
      const signal = closing.signal
      if (abortAt === 'the beginning') closing.abort()
      let steps = 0
      const reading = (async () => {
        for await (const _ of feed.follow({ signal, now: () => 0 })) {
          assert.ok(!signal.aborted || abortAt === 'once', `a step after an abort at ${abortAt}`)
          if (++steps === 2 && abortAt === 'a step') closing.abort()
          if (steps === 2 && abortAt === 'waiting') setTimeout(() => closing.abort(), 10)
        }
      })()
      if (abortAt === 'once') closing.abort()
      await inTime(reading, `the end after an abort at ${abortAt}`)
    }
    for (const when of ['the beginning', 'once', 'a step', 'waiting'] as const) await end(when)
  },

  async 'a reader that does not read holds back nobody'(t) {
    const [one, two] = await clients(t)
    const closing = new AbortController()
    const slow = one.follow({ signal: closing.signal, now: () => performance.now() })[Symbol.asyncIterator]()
    const first = (await inTime(slow.next(), 'a first step')).value as FeedStep
    const all = Array.from({ length: 200 }, (_, i) => `n${i}`)
    await inTime(publishAll(one, all), 'the end of publishing')
    for (const feed of [one, two]) await readUntil(feed, 'all that was published', has('n199'))

    const seen = [...first.notices]
    const until = performance.now() + patienceMs
    while (!names(seen).includes('n199') && performance.now() < until) {
      const { value } = (await inTime(slow.next(), 'a step for the slow reader')) as { value: FeedStep }
      assert.equal(value.gap, false, 'a gap for the slow reader')
      seen.push(...value.notices)
    }
    closing.abort()
    assert.deepEqual(names(seen), all)
  },
}

const trimRules: Record<string, (t: FeedUnderTest) => Promise<void>> = {
  async 'a cursor that is too old is a gap, at the first step'(t) {
    const [one, two] = await clients(t)
    const empty = await cursorOf(one)
    await publishAll(one, abc)
    await t.trim!()
    for (const feed of [one, two]) {
      const { steps, cursor } = await readUntil(feed, 'a step', ({ steps }) => isComplete(steps.at(-1)), {
        since: empty,
      })
      assert.equal(steps[0]!.gap, true, 'what was removed was not read, and no gap says so')
      await publish(feed, ended('d'))
      const next = await readUntil(feed, 'd', has('d'), { since: cursor })
      assert.equal(next.gap, false, 'a gap after the gap')
    }
  },

  async 'a reader that was there finds a gap, or misses nothing'(t) {
    await publishAll(t.feed, abc)
    const { cursor } = await readUntil(t.feed, 'c', has('c'))
    await publish(t.feed, ended('d'))
    await t.trim!()
    await publish(t.feed, ended('e'))
    const seen = await readUntil(t.feed, 'e', has('e'), { since: cursor })
    assert.ok(seen.gap || has('d')(seen), 'd is missing, and no gap says so')
  },

  async 'a first follow is no gap, whatever was removed'(t) {
    await publishAll(t.feed, abc)
    await t.trim!()
    await publish(t.feed, ended('d'))
    const seen = await readUntil(t.feed, 'd', has('d'))
    assert.deepEqual([names(seen.notices), seen.gap], [['d'], false])
  },
}

export const feedRules: readonly FeedRule[] = [
  ...Object.entries(rules).map(([name, check]) => ({ name, check })),
  ...Object.entries(trimRules).map(([name, check]) => ({ name, check, needs: 'trim' as const })),
]
