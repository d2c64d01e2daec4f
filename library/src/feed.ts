// What a feed is: the log by which every process learns of endings and of changes of identity.

/** A place in the log, as the engine names it. Opaque, and short. */
export type Cursor = string

/** Something that every process must know. Never holds data of a session. */
export type Notice =
  | {
      readonly kind: 'ended'
      readonly ids: readonly string[]
      /** Why, for logs: `signed-out`, `ended`, `replaced`, `limit`, `refresh-reused`. */
      readonly reason: string
    }
  /** The identity in a session changed: what says an older epoch is stale. */
  | { readonly kind: 'changed'; readonly id: string; readonly epoch: number }
  /** The set of signing keys changed. */
  | { readonly kind: 'keys' }

/** What one read of the log gave. */
export interface FeedStep {
  /** In the order of the log. May hold what an earlier step held. */
  readonly notices: readonly Notice[]
  /** Where the log was read up to. */
  readonly cursor: Cursor
  /** Notices may have been missed before this step: they were trimmed, or the engine lost or replaced its history. */
  readonly gap: boolean
  /** A reading of `now`, taken before the read began: everything durable before that instant is in this or an earlier step. */
  readonly asOf: number
}

export interface FollowOptions {
  /** Begin after this place. Default: with the oldest notice that is kept. */
  readonly since?: Cursor | undefined
  /** Ends the iteration, without an error. */
  readonly signal: AbortSignal
  /** The follower's own clock for elapsed time, in ms, with which `asOf` is read. */
  readonly now: () => number
}

/**
 * The contract of an engine, proved by `testFeed` of `holdfast/testing`. A reader that is slow, or away, holds back nobody:
 * it resumes from its cursor, and finds a `gap` when that is too old.
 */
export interface Feed {
  /** Durable when it resolves, for every reader that reads from then on. A rejection leaves unknown whether it was written. */
  publish(notice: Notice, o?: { signal?: AbortSignal | undefined }): Promise<void>
  /**
   * Steps, at least every 250 ms while the engine answers, also when there is nothing new. Rejects when the engine fails; the
   * caller follows again from its last cursor.
   */
  follow(o: FollowOptions): AsyncIterable<FeedStep>
}
