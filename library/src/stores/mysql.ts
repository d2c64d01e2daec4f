// Sessions in MySQL or MariaDB, through a pool of mysql2.
import {
  afresh,
  errorNumber,
  leasing,
  quoted,
  readOnly,
  refuseReadOnly,
  rowsOf,
  written,
  type Leased,
  type MysqlConnection,
  type MysqlPool,
  type Row,
  type Value,
} from '../internal/mysql.ts'
import { assertKnownFormat, formatComment } from '../internal/table-format.ts'
import type { ScannableStore, SessionRecord, SweepableStore } from '../store.ts'

/** The table, which `mysqlStoreSchema` must have been given too, and by which clock the sessions in it expire. */
export interface MysqlStoreOptions {
  /** The name of the table, with a schema before it if you like. Default `holdfast_sessions`. */
  table?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

const who = 'mysqlStore'
const defaultTable = 'holdfast_sessions'
const duplicateKey = 1062
/** Few enough rows that nobody waits for their locks. */
const removedAtOnce = 100
/** Not by NOW(), which goes through the time zone and has an hour twice a year. */
const serverNow = `TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000`

/**
 * Keeps sessions in MySQL 8 or later, or MariaDB 10.6 or later, in the table that `mysqlStoreSchema` makes. The pool, of `mysql2/promise`, is yours:
 *
 * ```ts
 * const pool = createPool({ uri, connectionLimit: 10, connectTimeout: 2_000, enableKeepAlive: true })
 * ```
 *
 * Best it is the store's own: a transaction that somebody else left open on a connection would show old sessions. A call that has no answer after a
 * second rejects, and its connection is destroyed, so a server that is back finds a pool that works; `connectTimeout` keeps those that can't connect
 * from filling it. Autocommit, `utf8mb4` and a strict `sql_mode`, mysql2's and the servers' defaults, are looked for at the first call.
 *
 * Reads and writes must go to the primary. A server that is `read_only` (a replica, a primary that was replaced) is refused at each read and
 * by itself at each write, unless the user of the pool has a right that passes over it (SUPER, READ ONLY ADMIN, CONNECTION ADMIN): give it none. In a
 * Galera cluster use one node at a time, or `wsrep_sync_wait=1`.
 *
 * Each call is one statement by an index, and a second where a read finds nothing; `sweep` is two for each hundred records, a `delete` of several
 * a transaction for each hundred, a `put` that finds an expired record in its place three. What is swept has expired by the server's clock too.
 *
 * Durable is what the server means by it: `innodb_flush_log_at_trx_commit=1` and `sync_binlog=1` for a crash, semi-synchronous replication, with
 * a timeout that never comes, for a failover. The victim of a deadlock is tried again; other errors of the server reject.
 * @throws ConfigError when `table` is no name; the first call rejects with one when the settings of the pool are wrong, or a newer
 * Holdfast made the table
 */
export function mysqlStore(pool: MysqlPool, o: MysqlStoreOptions = {}): SweepableStore & ScannableStore {
  const clock = o.clock ?? Date
  const table = quoted(o.table ?? defaultTable, 64)
  const sound = leasing(pool, who)
  let isKnown = false
  const leased: Leased = (work, signal) =>
    sound(async (connection) => {
      isKnown ||= await hasKnownFormat(connection, o.table ?? defaultTable)
      return work(connection)
    }, signal)

  const changing = ['userId', 'credential', 'identity', 'data', 'createdAt', 'seenAt', 'expiresAt', 'epoch', 'version']
  const insert = `INSERT INTO ${table} (id, ${changing.join()}) VALUES (?${', ?'.repeat(changing.length)})`
  // The version is another one, so a row that was found is a row that was changed, whichever of the two the client asks the server to count.
  const update = `UPDATE ${table} SET ${changing.map((name) => `${name} = ?`).join()} WHERE id = ? AND version = ? AND expiresAt > ?`
  const endIf = `DELETE FROM ${table} WHERE id = ? AND version = ? AND expiresAt > ?`
  const end = `DELETE FROM ${table} WHERE id = ? AND expiresAt > ?`
  const clear = `DELETE FROM ${table} WHERE id = ? AND expiresAt <= ?`
  const many = `id IN (?${', ?'.repeat(removedAtOnce - 1)})`
  const lockMany = `SELECT CONVERT(id USING utf8mb4) AS id, expiresAt FROM ${table} FORCE INDEX (PRIMARY) WHERE ${many} FOR UPDATE`
  const endMany = `DELETE FROM ${table} WHERE ${many}`
  // By the server's clock too: what a machine whose clock is ahead takes for expired is live for the others.
  const over = `<= LEAST(?, ${serverNow})`
  const expired = `SELECT id FROM ${table} WHERE expiresAt ${over} LIMIT ?`
  // The `+ 0` keeps the optimizer from going by the end.
  const sweepAway = `DELETE FROM ${table} WHERE ${many} AND expiresAt + 0 ${over}`

  const columns = `${readOnly}, CONVERT(id USING utf8mb4) AS id, CONVERT(userId USING utf8mb4) AS userId, ${changing.slice(1).join()}`
  // A record says beside what it holds whether its server may be asked at all. Where none is found a row has to be made up for that, at half as
  // much again.
  const orNone = (from: string) => `SELECT ${columns} FROM (SELECT 1 AS one) AS one LEFT JOIN ${from}`
  const where = (condition: string) => [
    `SELECT ${columns} FROM ${table} WHERE ${condition}`,
    orNone(`${table} ON ${condition}`),
  ]
  const byId = where('id = ? AND expiresAt > ?')
  const byUser = where('userId = ? AND expiresAt > ?')
  const page = [
    `${orNone(`(SELECT * FROM ${table} WHERE id > ? AND expiresAt > ? ORDER BY id LIMIT ?) AS page ON TRUE`)} ORDER BY page.id`,
  ]

  /** By the first of the statements that has rows. */
  async function found(statements: readonly string[], values: Value[], signal?: AbortSignal): Promise<SessionRecord[]> {
    return leased(async (connection) => {
      let rows: readonly Row[] = []
      for (const sql of statements) if (rows.length === 0) rows = await rowsOf(connection, sql, values)
      refuseReadOnly(rows[0]!, who)
      return rows.filter(({ id }) => id !== null).map(toRecord)
    }, signal)
  }

  function write(sql: string, values: Value[], signal?: AbortSignal): Promise<boolean> {
    return leased(async (connection) => (await written(connection, sql, values)) === 1, signal)
  }

  /** What has expired and was not swept yet is in the way of nobody. */
  async function start(record: SessionRecord, now: number, signal?: AbortSignal): Promise<boolean> {
    const values = [record.id, ...valuesOf(record)]
    return leased(async (connection) => {
      for (const last of [false, true]) {
        try {
          return (await written(connection, insert, values)) === 1
        } catch (error) {
          if (errorNumber(error) !== duplicateKey) throw error
        }
        if (!last) await written(connection, clear, [record.id, now])
      }
      return false
    }, signal)
  }

  /** Looked at first, since MySQL does not say which rows a statement removed. */
  function endThese(ids: readonly string[], now: number, signal?: AbortSignal): Promise<readonly string[]> {
    const values = filled(ids)
    return leased(
      (connection) =>
        afresh(async () => {
          await connection.query('START TRANSACTION')
          const rows = await rowsOf(connection, lockMany, values)
          if (rows.length > 0) await connection.execute(endMany, values)
          await connection.query('COMMIT')
          return rows.filter((row) => Number(row['expiresAt']) > now).map((row) => row['id'] as string)
        }),
      signal,
    )
  }

  return {
    async get(id, { signal } = {}) {
      return (await found(byId, [id, clock.now()], signal))[0] ?? null
    },

    async put(record, expected, { signal } = {}) {
      const { id } = record
      const now = clock.now()
      if (record.expiresAt > now) {
        if (expected === null) return start(record, now, signal)
        return write(update, [...valuesOf(record), id, expected, now], signal)
      }
      if (expected === null) return (await found(byId, [id, now], signal)).length === 0
      return write(endIf, [id, expected, now], signal)
    },

    async delete(ids, { signal } = {}) {
      const now = clock.now()
      if (ids.length === 1) return (await write(end, [ids[0]!, now], signal)) ? ids : []
      const each = [...new Set(ids)]
      const ended: string[] = []
      for (let at = 0; at < each.length; at += removedAtOnce) {
        ended.push(...(await endThese(each.slice(at, at + removedAtOnce), now, signal)))
      }
      return ended
    },

    async listByUser(userId, { signal } = {}) {
      const records = await found(byUser, [userId, clock.now()], signal)
      return records.sort((a, b) => b.createdAt - a.createdAt)
    },

    // Looked up without a lock and removed by key: a range of the index, locked first, would meet the writers coming the other way.
    async sweep(limit) {
      for (let swept = 0; ;) {
        const now = clock.now()
        const removed = await leased(async (connection) => {
          const rows = await rowsOf(connection, expired, [now, String(Math.min(removedAtOnce, limit - swept))])
          if (rows.length === 0) return null
          return written(connection, sweepAway, [...filled(rows.map(({ id }) => id as Value)), now])
        })
        swept += removed ?? 0
        if (removed === null || swept >= limit) return swept
      }
    },

    async scan({ cursor, limit }) {
      const records = await found(page, [cursor ?? '', clock.now(), String(limit)])
      return { records, cursor: records.length < limit ? null : records.at(-1)!.id }
    },
  }
}

/**
 * The statement that makes the table if it is not there: run it before anything else, as often as you like. The database must be
 * of InnoDB, as is the default.
 */
export function mysqlStoreSchema(table: string = defaultTable): readonly string[] {
  // Bytes rather than text where values are compared: MySQL's collations take 'anna ' for 'anna'. A user's index holds the first 255 bytes,
  // and what is longer is compared in full.
  const text = 'LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL'
  return [
    `CREATE TABLE IF NOT EXISTS ${quoted(table, 64)} (
  id VARBINARY(255) NOT NULL PRIMARY KEY,
  userId LONGBLOB,
  credential ${text},
  identity ${text},
  data ${text},
  createdAt BIGINT NOT NULL,
  seenAt BIGINT NOT NULL,
  expiresAt BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  version BIGINT NOT NULL,
  KEY byUser (userId(255)),
  KEY byEnd (expiresAt)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT = '${formatComment}'`,
  ]
}

/** `false`: the table is not there, or the user has no right to it. */
async function hasKnownFormat(connection: MysqlConnection, table: string): Promise<boolean> {
  const [name, schema] = table.split('.').toReversed() as [string, string?]
  const sql = `SELECT table_comment AS comment FROM information_schema.tables WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?`
  const rows = await rowsOf(connection, sql, [schema ?? null, name])
  assertKnownFormat(who, table, rows[0]?.['comment'])
  return rows.length > 0
}

/** As many as a statement for many takes; which of them come twice makes no difference. */
function filled(ids: readonly Value[]): Value[] {
  return Array.from({ length: removedAtOnce }, (_, i) => ids[i] ?? ids[0]!)
}

function valuesOf(record: SessionRecord): Value[] {
  const { userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version } = record
  return [userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version]
}

function toRecord(row: Row): SessionRecord {
  const { id, userId, credential, identity, data } = row as unknown as SessionRecord
  // A pool may be told to give large numbers as text.
  const [createdAt, seenAt, expiresAt, epoch, version] = ['createdAt', 'seenAt', 'expiresAt', 'epoch', 'version'].map(
    (name) => Number(row[name]),
  ) as [number, number, number, number, number]
  return { id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version }
}
