// The contract of a store as tests: every store passes this, ours and yours.
import type { Store } from '../store.ts'
import { capabilityRules } from './store-capability-rules.ts'
import { historyRules } from './store-history.ts'
import { storeRules } from './store-rules.ts'

/** A fresh store without records, as a test sees it. */
export interface StoreUnderTest {
  readonly store: Store
  /** A second client on the same data, with its own connection where the engine has connections. Default: the same store. */
  readonly another?: (() => Promise<Store> | Store) | undefined
  /**
   * The clock that the store was given, if it takes one; start it at the real time when the engine has a clock of its own.
   * Without it the tests wait for real.
   */
  readonly clock?: { now(): number; advance(duration: `${number}ms`): void } | undefined
  /** Called when the test is over, whatever came of it. */
  readonly close?: (() => Promise<void> | void) | undefined
}

/** One statement about stores. It rejects with an assertion that says what the store did wrong. */
export interface StoreRule {
  readonly name: string
  /** The capability that it speaks of; a store without it is not asked. */
  readonly needs?: 'sweep' | 'scan'
  readonly check: (t: StoreUnderTest) => Promise<void>
}

/** All that is asked of a store. `testStore` makes a test of each. */
export const storeContract: readonly StoreRule[] = [...storeRules, ...capabilityRules, ...historyRules]

/** `test` of node:test, and of every runner whose tests have a name and may return a promise. */
export type TestFunction = (name: string, body: () => Promise<void>) => unknown

/**
 * Registers the whole contract of `Store` with the runner's `test`, each rule on a store that `make` made for it alone.
 * The rules for `sweep` and `scan` are asked of stores that have them.
 *
 * ```ts
 * import { test } from 'node:test'
 * testStore('etcd', () => ({ store: etcdStore(client, { prefix: randomUUID() }) }), { test })
 * ```
 */
export function testStore(
  name: string,
  make: () => Promise<StoreUnderTest> | StoreUnderTest,
  o: { test: TestFunction },
): void {
  for (const rule of storeContract) {
    void o.test(`${name}: ${rule.name}`, async () => {
      const t = await make()
      try {
        if (rule.needs === undefined || rule.needs in t.store) await rule.check(t)
      } finally {
        await t.close?.()
      }
    })
  }
}
