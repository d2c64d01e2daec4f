// What a store is: a map of session records with one conditional write.

/**
 * A session as a store keeps it. Readonly: a change is a new record with `version + 1`.
 * Instants are whole milliseconds since the epoch, before 2^48 (the year 10889): engines may refuse what is not.
 */
export interface SessionRecord {
  /** Lookup key, 128 random bits in base64url. Never reused, safe to log. */
  readonly id: string
  /** Whose session it is; `null` for a guest. */
  readonly userId: string | null
  /** What the credential kind keeps, such as the hash of a secret. Never the secret itself. */
  readonly credential: string
  /** JSON of roles, claims, assurance and device; opaque to the store. */
  readonly identity: string
  /** JSON of `{ section: value }`; opaque to the store, kept byte for byte. */
  readonly data: string
  readonly createdAt: number
  readonly seenAt: number
  /** The earlier of the idle and the absolute end. At or after it the record is absent. */
  readonly expiresAt: number
  /** +1 when the identity changes: self-contained tokens with an older epoch are stale. */
  readonly epoch: number
  /** 1, 2, 3 …: +1 with every write. */
  readonly version: number
}

/** What a call to a store may be given. */
export interface StoreOptions {
  /** Aborted when nobody waits for the answer any more. A store may ignore it. */
  readonly signal?: AbortSignal | undefined
}

/** What a read may be given. */
export interface ReadOptions extends StoreOptions {
  /**
   * The answer settles a write whose outcome is unknown, so it must hold as a write that resolved does. Only a store that may show what it would
   * not have acknowledged (one that waits for replicas) has to look at it.
   */
  readonly settles?: boolean | undefined
  /**
   * The caller can do with an answer that was true a moment ago, as for the data of a session whose identity is known. Only a store that keeps
   * copies has to look at it; without it every answer is as of the call.
   */
  readonly mayLag?: boolean | undefined
}

/**
 * The contract of an engine, proved by `testStore` of `holdfast/testing`. Outcomes are values; a rejection means that the
 * engine failed, and then the outcome of a write is unknown. An engine that can't compare-and-set is no store.
 */
export interface Store {
  /** The record, or `null` when there is none or it has expired. */
  get(id: string, o?: ReadOptions): Promise<SessionRecord | null>
  /**
   * Writes `record` only if the stored version is `expected` (`null`: only if there is none). `false`: somebody else wrote,
   * or it is gone; nothing was changed. A record that has expired counts as gone. A record whose `expiresAt` has passed
   * (`0` always has) is a conditional delete: `true`, and absent from then on. The user's list shows it when this resolves.
   */
  put(record: SessionRecord, expected: number | null, o?: StoreOptions): Promise<boolean>
  /** Removes them whatever their version, and answers which of them were there and live. Unknown ids are no error. */
  delete(ids: readonly string[], o?: StoreOptions): Promise<readonly string[]>
  /** The live sessions of a user, newest `createdAt` first. Never misses one whose `put` had resolved. */
  listByUser(userId: string, o?: StoreOptions): Promise<readonly SessionRecord[]>
}

/** A store on an engine without native expiry. `createSessions` sweeps it: with every 64th session that it begins, up to 256 records. */
export interface SweepableStore extends Store {
  /** Removes up to `limit` expired records and answers how many it removed: fewer than `limit` only when it finds no more. */
  sweep(limit: number): Promise<number>
}

/** A store whose records can be walked through, page by page, in no particular order. */
export interface ScannableStore extends Store {
  /**
   * A page of live records of about `limit`, and the cursor of the next page; `null` after the last. A record that lives
   * through the whole walk is seen at least once.
   */
  scan(o: {
    cursor?: string | undefined
    limit: number
  }): Promise<{ records: readonly SessionRecord[]; cursor: string | null }>
}
