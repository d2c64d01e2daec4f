// The contract of an adapter as tests: every framework's adapter passes this, ours and yours.
import type { Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'
import { adapterRules } from './adapter-rules.ts'
import type { TestFunction } from './store.ts'

/** What the contract's requests ask of the application. */
export interface AdapterRequest {
  readonly method: string
  readonly path: string
  readonly body: string
}

/** What the application answers. `headers` are its own; a name may come twice. */
export interface AdapterAnswer {
  readonly status: number
  readonly headers?: readonly (readonly [name: string, value: string])[] | undefined
  readonly body?: string | undefined
}

/** An application that knows of no framework. It may reject with a `SessionError`, as any handler may. */
export type AdapterHandler = (
  session: Session<Record<string, unknown>>,
  request: AdapterRequest,
) => Promise<AdapterAnswer>

/** Mounts `handle` for all methods and paths in the framework, its session opened by the adapter, and answers where it is. */
export type ServeAdapter = (
  sessions: Sessions<Record<string, unknown>>,
  handle: AdapterHandler,
) => Promise<{ readonly url: string; close(): Promise<void> | void }>

/** One statement about adapters. It rejects with an assertion that says what the adapter did wrong. */
export interface AdapterRule {
  readonly name: string
  readonly check: (serve: ServeAdapter) => Promise<void>
}

/** All that is asked of an adapter. `testAdapter` makes a test of each. */
export const adapterContract: readonly AdapterRule[] = Object.entries(adapterRules).map(([name, check]) => {
  return { name, check }
})

/**
 * Registers the whole contract of adapters with the runner's `test`, over real HTTP on a free port of this machine.
 *
 * ```ts
 * import { test } from 'node:test'
 * testAdapter('koa', { test, serve: async (sessions, handle) => ({ url, close }) })
 * ```
 */
export function testAdapter(name: string, o: { test: TestFunction; serve: ServeAdapter }): void {
  for (const rule of adapterContract) void o.test(`${name}: ${rule.name}`, () => rule.check(o.serve))
}
