// The contract of `Sessions` as tests: on a store and behind the session service an application finds the same.
import { contractOptions, type ContractSessions } from './sessions-fixtures.ts'
import { assertingRules } from './asserting-rules.ts'
import { sessionsRules } from './sessions-rules.ts'
import type { TestFunction } from './store.ts'

/** Sessions as a test sees them, made with the options that `make` was given. */
export interface SessionsUnderTest {
  readonly sessions: ContractSessions
  /** Those of a second process on the same sessions. Default: the same. */
  readonly another?: (() => Promise<ContractSessions> | ContractSessions) | undefined
  /** For how long a process may accept what another one ended, in ms. Default 0: where nothing is cached. */
  readonly maxStalenessMs?: number | undefined
  /** Whether `start` can give signed tokens. Default false; the rules for them are then not asked. */
  readonly signed?: boolean | undefined
  /** The name by which they accept what is asserted to them. Default: they do not; the rules for it are then not asked. */
  readonly service?: string | undefined
  /** Called when the test is over, whatever came of it. */
  readonly close?: (() => Promise<void> | void) | undefined
}

/** One statement about sessions. It rejects with an assertion that says what they did wrong. */
export interface SessionsRule {
  readonly name: string
  readonly needs?: 'signed' | 'service'
  readonly check: (t: SessionsUnderTest) => Promise<void>
}

/** All that is asked of sessions. `testSessions` makes a test of each. */
export const sessionsContract: readonly SessionsRule[] = [
  ...sessionsRules,
  ...Object.entries(assertingRules).map(([name, check]) => ({ name, check, needs: 'service' as const })),
]

/**
 * Registers the whole contract of `Sessions` with the runner's `test`, each rule on what `make` made of the sections and roles that
 * the contract uses.
 *
 * ```ts
 * import { test } from 'node:test'
 * testSessions('on etcd', (o) => ({ sessions: createSessions({ ...o, store: etcdStore(client) }) }), { test })
 * ```
 */
export function testSessions(
  name: string,
  make: (o: typeof contractOptions) => Promise<SessionsUnderTest> | SessionsUnderTest,
  o: { test: TestFunction },
): void {
  for (const rule of sessionsContract) {
    void o.test(`${name}: ${rule.name}`, async () => {
      const t = await make(contractOptions)
      try {
        if (rule.needs === undefined || (t[rule.needs] ?? false) !== false) await rule.check(t)
      } finally {
        await t.close?.()
      }
    })
  }
}
