// What an engine is to a measurement: something that several processes connect to, and whose primary can be struck.
import type { Feed, Store } from 'holdfast'

export const faults = ['kill', 'cut', 'split'] as const
/**
 * `kill`: `kill -9` of the primary. `cut`: its host loses the network and runs on. `split`: its host loses the other servers alone; clients
 * still reach it.
 */
export type Fault = (typeof faults)[number]

export interface Connection {
  readonly store: Store
  readonly feed: Feed | null
  /** As `createSessions` takes it. */
  readonly whenStale?: 'refuse'
  close(): void
}

export interface Strike {
  /** When; CLOCK_MONOTONIC in ms. */
  readonly at: number
  /** When the engine itself had a new primary, of what a setting uses; of the plain client's for `plain`. */
  readonly promotedAt: Promise<(setting: string) => number>
  /** What was broken comes back; resolves when the old primary has taken its new place. */
  heal(): Promise<void>
}

export interface Engine {
  readonly version: string
  /** How its store and feed are set up. */
  readonly settings: readonly string[]
  /** One setting at a time, where the clients of all would keep this process from doing anything else. */
  readonly apart: boolean
  /** As one process connects; `n` says which. All with the same `space` share sessions. */
  connect(setting: string, space: string, n: number): Promise<Connection>
  /** A write by the engine's client alone. */
  plain(n: number): Promise<{ write(): Promise<unknown>; close(): void }>
  strike(fault: Fault): Promise<Strike>
  stop(): Promise<void>
}

export function clock(): number {
  return performance.now()
}

const lookEveryMs = 10

/** The instant from which on `isSo`; what it rejects with counts as no. */
export async function since(what: string, isSo: () => Promise<boolean>, limitMs = 40_000): Promise<number> {
  for (const until = clock() + limitMs; ;) {
    const at = clock()
    if (await isSo().catch(() => false)) return at
    if (at > until) throw new Error(`${what}: not within ${limitMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs))
  }
}
