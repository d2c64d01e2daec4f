// The contract of a feed as tests: every feed passes this, ours and yours.
import type { Feed } from '../feed.ts'
import { historyRules } from './feed-history.ts'
import { feedRules } from './feed-rules.ts'
import type { TestFunction } from './store.ts'

/** A fresh feed without notices, as a test sees it. */
export interface FeedUnderTest {
  readonly feed: Feed
  /** The same log for a second client, with its own connection where the engine has connections. Default: the same feed. */
  readonly another?: (() => Promise<Feed> | Feed) | undefined
  /** Removes every notice that is kept, as age would. Without it the rules about gaps are not asked. */
  readonly trim?: (() => Promise<void>) | undefined
  /** Called when the test is over, whatever came of it. */
  readonly close?: (() => Promise<void> | void) | undefined
}

/** One statement about feeds. It rejects with an assertion that says what the feed did wrong. */
export interface FeedRule {
  readonly name: string
  /** What it can't do without; a feed under test that lacks it is not asked. */
  readonly needs?: 'trim'
  readonly check: (t: FeedUnderTest) => Promise<void>
}

/** All that is asked of a feed. `testFeed` makes a test of each. */
export const feedContract: readonly FeedRule[] = [...feedRules, ...historyRules]

/**
 * Registers the whole contract of `Feed` with the runner's `test`, each rule on a feed that `make` made for it alone.
 *
 * ```ts
 * import { test } from 'node:test'
 * testFeed('nats', () => ({ feed: natsFeed(connection, { stream: randomUUID() }) }), { test })
 * ```
 */
export function testFeed(
  name: string,
  make: () => Promise<FeedUnderTest> | FeedUnderTest,
  o: { test: TestFunction },
): void {
  for (const rule of feedContract) {
    void o.test(`${name}: ${rule.name}`, async () => {
      const t = await make()
      try {
        if (rule.needs === undefined || t[rule.needs] !== undefined) await rule.check(t)
      } finally {
        await t.close?.()
      }
    })
  }
}
