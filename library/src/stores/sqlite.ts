// Sessions in an SQLite file, by Node's own node:sqlite: for one machine with any number of processes.
import type { DatabaseSync } from 'node:sqlite'
import { ConfigError } from '../errors.ts'
import type { ScannableStore, SessionRecord, StoreOptions, SweepableStore } from '../store.ts'

export interface SqliteStoreOptions {
  /** Name of the table, created if it is missing: a letter, then letters, digits and `_`. Default `sessions`. */
  table?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/** Of the tables, kept in `PRAGMA user_version`. */
const format = 1
/** The engine is synchronous, so while it waits for another process nothing else runs in this one. */
const blockingWaitMs = 10
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
    async get(id) {
      const row = select.get(id, clock.now())
      return row === undefined ? null : toRecord(row)
    },

    async put(record, expected, options) {
      return patiently(options, () => {
        const now = clock.now()
        if (record.expiresAt > now) return write(record, expected, now)
        if (expected === null) return select.get(record.id, now) === undefined
        return durably(() => endIf.run(record.id, expected, now).changes === 1)
      })
    },

    async delete(ids, options) {
      if (ids.length === 0) return []
      return patiently(options, () => {
        const now = clock.now()
        const removed = durably(() => end.all(JSON.stringify(ids))) as { id: string; expiresAt: number }[]
        return removed.filter(({ expiresAt }) => expiresAt > now).map(({ id }) => id)
      })
    },

    async listByUser(userId) {
      return byUser.all(userId, clock.now()).map(toRecord)
    },

    async sweep(limit) {
      return patiently(undefined, () => Number(expired.run(clock.now(), limit).changes))
    },

    async scan({ cursor, limit }) {
      const records = page.all(cursor ?? '', clock.now(), limit).map(toRecord)
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
    COMMIT;
    PRAGMA busy_timeout = ${blockingWaitMs}`)
}

/** Repeats a write that found the file locked, and lets the process work in between. */
async function patiently<T>(o: StoreOptions | undefined, write: () => T): Promise<T> {
  const giveUpAt = performance.now() + patienceMs
  for (;;) {
    try {
      return write()
    } catch (error) {
      if (!isBusy(error) || o?.signal?.aborted === true || performance.now() > giveUpAt) throw error
    }
    // By chance, so that two processes don't keep meeting.
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10))
  }
}

/** SQLITE_BUSY, with any extended code. */
function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === 5
}

/** `node:sqlite` gives rows without a prototype. */
function toRecord(row: object): SessionRecord {
  return { ...row } as SessionRecord
}
