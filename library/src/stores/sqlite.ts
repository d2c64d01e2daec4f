// Sessions in an SQLite file, by Node's own node:sqlite: for one machine with any number of processes.
import type { DatabaseSync } from 'node:sqlite'
import { ConfigError } from '../errors.ts'
import type { ScannableStore, SessionRecord, StoreOptions, SweepableStore } from '../store.ts'

/** The table in the file, and by which clock the sessions in it expire. */
export interface SqliteStoreOptions {
  /** Name of the table, created if it is missing: a letter, then letters, digits and `_`. Default `sessions`. */
  table?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/** Of the tables, kept in `PRAGMA user_version`. */
const format = 1
/** How long a call keeps trying, without blocking, while other processes hold the write lock. */
const patienceMs = 2_000

/**
 * Keeps sessions in `database`, a connection of the store's own to a file of Holdfast's own: the store sets its journal
 * mode (WAL), its durability and its `user_version`. Several processes may use the file, on one machine, never over a network share.
 *
 * What ends a session (`delete`, and a `put` that is a conditional delete) is on the disk when it resolves and survives a power cut
 * (`synchronous=FULL`). Other writes survive a crash of the process at once and a power cut after the next ending or checkpoint (`NORMAL`).
 *
 * A call rejects when another process holds the write lock for 2 s; nothing was written then.
 * @throws ConfigError when the file was written by a newer Holdfast, or `table` is not an identifier
 */
export function sqliteStore(database: DatabaseSync, o: SqliteStoreOptions = {}): SweepableStore & ScannableStore {
  const clock = o.clock ?? Date
  const table = o.table ?? 'sessions'
  if (!/^(?!sqlite_)[a-z][a-z0-9_]{0,62}$/i.test(table)) {
    throw new ConfigError(`table must be a letter followed by letters, digits and _, not ${JSON.stringify(table)}`)
  }
  prepareFile(database, table)

  const columns = 'id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version'
  const select = database.prepare(`SELECT ${columns} FROM ${table} WHERE id = ? AND expiresAt > ?`)
  const insert = database.prepare(
    `INSERT INTO ${table} (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET userId = excluded.userId, credential = excluded.credential, identity = excluded.identity,
       data = excluded.data, createdAt = excluded.createdAt, seenAt = excluded.seenAt, expiresAt = excluded.expiresAt,
       epoch = excluded.epoch, version = excluded.version
     WHERE ${table}.expiresAt <= ?`,
  )
  const update = database.prepare(
    `UPDATE ${table} SET userId = ?, credential = ?, identity = ?, data = ?, createdAt = ?, seenAt = ?, expiresAt = ?, epoch = ?, version = ?
     WHERE id = ? AND version = ? AND expiresAt > ?`,
  )
  const endIf = database.prepare(`DELETE FROM ${table} WHERE id = ? AND version = ? AND expiresAt > ?`)
  const end = database.prepare(
    `DELETE FROM ${table} WHERE id IN (SELECT value FROM json_each(?)) RETURNING id, expiresAt`,
  )
  const byUser = database.prepare(
    `SELECT ${columns} FROM ${table} WHERE userId = ? AND expiresAt > ? ORDER BY createdAt DESC`,
  )
  const expired = database.prepare(
    `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE expiresAt <= ? LIMIT ?)`,
  )
  const page = database.prepare(`SELECT ${columns} FROM ${table} WHERE id > ? AND expiresAt > ? ORDER BY id LIMIT ?`)
  // The engine is synchronous: while it waited for another process, nothing else would run in this one.
  database.exec('PRAGMA busy_timeout = 0')
  const writing = patientQueue()
  // Readers don't wait for a writer, only for moments in which another process opens, closes or repairs the file.
  const reading = patientQueue()

  function write(record: SessionRecord, expected: number | null, now: number): boolean {
    const { id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version } = record
    const { changes } =
      expected === null
        ? insert.run(id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version, now)
        : update.run(
            userId,
            credential,
            identity,
            data,
            createdAt,
            seenAt,
            expiresAt,
            epoch,
            version,
            id,
            expected,
            now,
          )
    return changes === 1
  }

  /** An ending outlasts a power cut. */
  function durably<T>(statement: () => T): T {
    database.exec('PRAGMA synchronous = FULL')
    try {
      return statement()
    } finally {
      database.exec('PRAGMA synchronous = NORMAL')
    }
  }

  return {
    get(id, options) {
      return reading(options, () => {
        const row = select.get(id, clock.now())
        return row === undefined ? null : toRecord(row)
      })
    },

    async put(record, expected, options) {
      return writing(options, () => {
        const now = clock.now()
        if (record.expiresAt > now) return write(record, expected, now)
        if (expected === null) return select.get(record.id, now) === undefined
        return durably(() => endIf.run(record.id, expected, now).changes === 1)
      })
    },

    async delete(ids, options) {
      if (ids.length === 0) return []
      return writing(options, () => {
        const now = clock.now()
        const removed = durably(() => end.all(JSON.stringify(ids))) as { id: string; expiresAt: number }[]
        return removed.filter(({ expiresAt }) => expiresAt > now).map(({ id }) => id)
      })
    },

    async listByUser(userId, options) {
      return reading(options, () => byUser.all(userId, clock.now()).map(toRecord))
    },

    async sweep(limit) {
      return writing(undefined, () => Number(expired.run(clock.now(), limit).changes))
    },

    async scan({ cursor, limit }) {
      const records = await reading(undefined, () => page.all(cursor ?? '', clock.now(), limit).map(toRecord))
      return { records, cursor: records.length < limit ? null : (records.at(-1)?.id ?? null) }
    },
  }
}

function prepareFile(database: DatabaseSync, table: string): void {
  // At the start, and only then, it is worth waiting for others who prepare the same file.
  database.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  const { user_version: found } = database.prepare('PRAGMA user_version').get() as { user_version: number }
  if (found > format) {
    throw new ConfigError(
      `the SQLite file was written by a newer Holdfast (format ${found}; this one knows ${format}): upgrade Holdfast, or use another file`,
    )
  }
  database.exec(`
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS ${table} (
      id TEXT NOT NULL PRIMARY KEY, userId TEXT, credential TEXT NOT NULL, identity TEXT NOT NULL, data TEXT NOT NULL,
      createdAt INTEGER NOT NULL, seenAt INTEGER NOT NULL, expiresAt INTEGER NOT NULL,
      epoch INTEGER NOT NULL, version INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS ${table}_by_user ON ${table} (userId, createdAt) WHERE userId IS NOT NULL;
    CREATE INDEX IF NOT EXISTS ${table}_by_end ON ${table} (expiresAt);
    PRAGMA user_version = ${format};
    COMMIT`)
}

/** A call that found the file locked. */
interface Waiting {
  readonly giveUpAt: number
  readonly signal: AbortSignal | undefined
  /** Settles the call, or answers `false`: it is still locked. */
  attempt(): boolean
  reject(error: unknown): void
}

/**
 * Makes calls in order. When one finds the file locked it is tried again every few milliseconds, and the process works in between; the
 * calls behind it wait until it is done.
 */
function patientQueue(): <T>(o: StoreOptions | undefined, statement: () => T) => Promise<T> {
  let waiting: Waiting[] = []

  async function work(locked: unknown): Promise<void> {
    const drop = (hopeless: (call: Waiting) => boolean) => {
      for (const call of waiting) if (hopeless(call)) call.reject(locked)
      waiting = waiting.filter((call) => !hopeless(call))
    }
    for (let isLocked = true; waiting.length > 0;) {
      // By chance, so that two processes don't keep meeting.
      await new Promise((resolve) => (isLocked ? setTimeout(resolve, 1 + Math.random() * 9) : setImmediate(resolve)))
      drop(({ signal }) => signal?.aborted === true)
      isLocked = waiting[0]?.attempt() === false
      if (!isLocked) waiting.shift()
      const now = performance.now()
      if (isLocked) drop(({ giveUpAt }) => now > giveUpAt)
    }
  }

  return async (o, statement) => {
    let locked: unknown
    if (waiting.length === 0) {
      try {
        return statement()
      } catch (error) {
        if (!isBusy(error) || o?.signal?.aborted === true) throw error
        locked = error
      }
    }
    return new Promise((resolve, reject) => {
      const attempt = () => {
        try {
          resolve(statement())
        } catch (error) {
          if (isBusy(error)) return false
          reject(error as Error)
        }
        return true
      }
      waiting.push({ giveUpAt: performance.now() + patienceMs, signal: o?.signal, attempt, reject })
      if (waiting.length === 1) void work(locked)
    })
  }
}

/** SQLITE_BUSY, with any extended code. */
function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === 5
}

/** `node:sqlite` gives rows without a prototype. Named one by one, which is three times as fast as spreading such a row. */
function toRecord(row: object): SessionRecord {
  const { id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version } = row as SessionRecord
  return { id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version }
}
