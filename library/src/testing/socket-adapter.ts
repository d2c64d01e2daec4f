// The contract of an adapter for sockets as tests: whatever stays open for a session owes this, ours and yours.
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'
import { socketAdapterRules } from './socket-adapter-rules.ts'
import type { TestFunction } from './store.ts'

/** An application that knows of no framework: its answer to a message. */
export type SocketHandler = (session: Session<Record<string, unknown>>, message: string) => string

/** The client's end of a connection. */
export interface SocketClient {
  /** Sends a message; the answer to it. Pending for ever when nobody answers any more. */
  ask(message: string): Promise<string>
  /** The code with which the server closed it since its session was over. */
  readonly over: Promise<number>
  close(): void
}

export interface SocketAdapterUnderTest {
  /** Answers each message with what `handle` makes of it, for connections that the adapter lets in: to those who meet `requires`. */
  readonly serve: (
    sessions: Sessions<Record<string, unknown>>,
    handle: SocketHandler,
    requires: Requirement | null,
  ) => Promise<{ readonly url: string; close(): Promise<void> | void }>
  /** Connects with these headers beside the protocol's own. A number is the HTTP status that stands for the server's refusal. */
  readonly connect: (url: string, headers: Readonly<Record<string, string>>) => Promise<SocketClient | number>
  /** With which codes it closes. Default 4401 when the session ended, 4409 when it changed. */
  readonly codes?: { readonly ended: number; readonly changed: number } | undefined
  /** Whether the URL can have a query. Default true; the rule about tokens in it is else not asked. */
  readonly takesQuery?: boolean | undefined
}

/** One statement about adapters for sockets. It rejects with an assertion that says what the adapter did wrong. */
export interface SocketAdapterRule {
  readonly name: string
  readonly needs?: 'takesQuery'
  readonly check: (adapter: SocketAdapterUnderTest) => Promise<void>
}

/** All that is asked of an adapter for sockets. `testSocketAdapter` makes a test of each. */
export const socketAdapterContract: readonly SocketAdapterRule[] = socketAdapterRules

/**
 * Registers the whole contract of adapters for sockets with the runner's `test`, over real connections on free ports of this machine.
 *
 * ```ts
 * import { test } from 'node:test'
 * testSocketAdapter('ws', { test, serve: async (sessions, handle, requires) => ({ url, close }), connect: async (url, headers) => ({ ask, over, close }) })
 * ```
 */
export function testSocketAdapter(name: string, o: SocketAdapterUnderTest & { test: TestFunction }): void {
  for (const rule of socketAdapterContract) {
    if (rule.needs === undefined || (o[rule.needs] ?? true)) void o.test(`${name}: ${rule.name}`, () => rule.check(o))
  }
}
