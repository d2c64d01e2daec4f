// What the sessions ask of a verifier: what is cached, what has ended, and how old that knowledge is.
import type { KnownSession } from '../credentials/credentials.ts'
import type { Notice } from '../feed.ts'

/** A session that a credential was found to open. */
export interface Verified {
  readonly known: KnownSession
  /** Whether the credential itself said so; else a store did. */
  readonly proof: boolean
}

/** One that was cached. */
export interface Cached extends Verified {
  /** Elapsed time at which it was looked up. */
  readonly beganAt: number
}

/** `ended`: denied for good. `stale`: its epoch is older than is known. `unsure`: the view can't tell, too old or with a gap since. */
export type Judgement = 'good' | 'ended' | 'stale' | 'unsure'

export interface Verifier {
  /** What a credential was found to open, when that may still be believed. */
  find(token: string): Verified | null | Promise<Verified | null>
  /** One run for all who ask for the same credential at once. `shared`: it began before this call. */
  once<T>(token: string, run: () => Promise<T>): Promise<{ result: T; shared: boolean }>
  /** Its elapsed time, to be read before the store or a signature is asked. */
  now(): number
  /** Judges what was found by asking at `beganAt`, and caches it when it is `good` and nothing can have been missed since. */
  judge(token: string, beganAt: number, verified: Verified): Judgement | Promise<Judgement>
  /** Whether the view of endings is young enough to be relied on. */
  fresh(): boolean
  /** Whether every ending that a token of this lifetime, not yet expired, may have missed is known. */
  coversAll(lifetimeMs: number): boolean
  /** Whether the session is known to have ended. */
  ended(id: string): boolean
  /** The epoch that the session is known to have reached: `Infinity` when it ended, 0 when nothing is known. */
  epoch(id: string): number
  /** Tells `listener` of each epoch that the session is known to have reached from now on. Answers how to stop listening. */
  onReached(id: string, listener: (epoch: number) => void): () => void
  /** Whoever keeps the sessions said that it has ended, and nothing in this process believes otherwise from now on. */
  deny(id: string): void
  /** Takes note of what this process published, before the feed brings it back. */
  note(notice: Notice): void
  /** What is cached of a session has a newer state, or (`null`) is gone. */
  renew(id: string, record: KnownSession | null): void
  /** Elapsed time as of which every ending is known that was not missed. */
  readonly asOf: number
  /** Elapsed time since which nothing was missed. */
  readonly unbrokenSince: number
  readonly status: FeedStatus
  /** Stops following the feed, and with it believing anything cached. */
  close(): void
}

/** How a process stands that follows a feed, for monitoring. */
export interface FeedStatus {
  /** Whether answers may be given without asking the store. */
  readonly fresh: boolean
  /** How old the view of endings is, in ms; `Infinity` before the first read of the feed. */
  readonly ageMs: number
  /** How long the feed took to bring back this process's latest ending, in ms; `null` before there was one. */
  readonly lagMs: number | null
  /** Credentials cached, about how many bytes they take, and how often one was found and not found since the start. */
  readonly cached: number
  readonly cachedBytes: number
  readonly hits: number
  readonly misses: number
  /** Sessions known to have ended or changed. */
  readonly endings: number
}
