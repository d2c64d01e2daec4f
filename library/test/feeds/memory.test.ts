// The contract on the feed in memory, and what it forgets.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FeedStep } from 'holdfast'
import { memoryFeed } from 'holdfast/feeds/memory'
import { feedContract, testFeed } from 'holdfast/testing'

testFeed('memory', () => ({ feed: memoryFeed() }), { test })

for (const { name, check } of feedContract.filter(({ needs }) => needs === 'trim')) {
  test(`memory, as notices age: ${name}`, (t) => {
    const now = performance.now.bind(performance)
    let ahead = 0
    t.mock.method(performance, 'now', () => now() + ahead)
    return check({ feed: memoryFeed({ retention: '1h' }), trim: async () => void (ahead += 3_600_001) })
  })
}

test('what nobody reads is bounded, and whoever comes too late for it finds a gap', async () => {
  const feed = memoryFeed()
  const { signal } = new AbortController()
  const follow = async (since?: string): Promise<FeedStep> => {
    for await (const step of feed.follow({ since, signal, now: () => 0 })) return step
    return assert.fail('no step')
  }
  const { cursor } = await follow()
  for (let i = 0; i < 250_000; i++) await feed.publish({ kind: 'changed', id: 'a', epoch: i })
  const { notices, gap } = await follow(cursor)
  assert.deepEqual([gap, notices.length, notices.at(-1)], [true, 100_000, { kind: 'changed', id: 'a', epoch: 249_999 }])
})

test('a cursor of another process is a gap', async () => {
  const cursors: string[] = []
  const stepOf = async (since: string | undefined): Promise<FeedStep> => {
    for await (const step of memoryFeed().follow({ since, signal: new AbortController().signal, now: () => 0 })) {
      cursors.push(step.cursor)
      return step
    }
    return assert.fail('no step')
  }
  assert.equal((await stepOf(undefined)).gap, false)
  assert.equal((await stepOf(cursors[0])).gap, true)
})

test('a retention that is no duration is refused', () => {
  assert.throws(() => memoryFeed({ retention: '0s' }), /retention: expected a positive duration/)
})
