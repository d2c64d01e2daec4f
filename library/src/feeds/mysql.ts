// The feed in MySQL or MariaDB: a table whose rows are numbered in the order of their commits.
import { base64url } from '#crypto'
import { ConfigError } from '../errors.ts'
import type { Feed } from '../feed.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import {
  leasing,
  quoted,
  readOnly,
  refuseReadOnly,
  rowsOf,
  written,
  type MysqlPool,
  type Row,
} from '../internal/mysql.ts'
import { readLog, type LogRow } from '../internal/numbered-log.ts'

/** The table, which `mysqlFeedSchema` must have been given too, how far back the feed goes, and how soon a notice is seen. */
export interface MysqlFeedOptions {
  /** The name of the table, with a schema before it if you like. Default `holdfast_feed`. */
  table?: string | undefined
  /** How long notices are kept for readers that are away; after that they find a gap. Default `'1h'`. */
  retention?: Duration | undefined
  /** How often a follower looks, `'200ms'` at most. Default `'100ms'`. */
  poll?: Duration | undefined
}

const who = 'mysqlFeed'
/** Followers owe a step every 250 ms. */
const pollAtMostMs = 200
const batch = 1_000
const trimmedAtOnce = 10

/**
 * A feed in MySQL 8 or later, or MariaDB 10.6 or later, in the tables that `mysqlFeedSchema` makes. The pool, of `mysql2/promise`, is yours, and may be that
 * of `mysqlStore`, which says what it needs. No connection is held between two calls.
 *
 * A publish is one transaction. All of them lock one row, so numbers follow the order of the commits and have no holes, at the price that one
 * commits at a time. Durable is what the server means by it: `innodb_flush_log_at_trx_commit=1` and `sync_binlog=1` for a crash, semi-synchronous
 * replication (with `AFTER_SYNC`, and a timeout that never comes) for a failover. A failover or a restored backup without the last notices is a
 * gap. A server that is `read_only` is neither read nor written; a primary that was replaced must be made so, or be shut off, since it would go on
 * answering.
 *
 * MySQL can't wake anybody, so a follower looks every 100 ms, with one short query: a notice is seen some 50 ms after its commit, 100 ms
 * at most, and the time of the query. A call without an answer within a second rejects.
 * @throws ConfigError when `table` is no name, or a duration is out of range
 */
export function mysqlFeed(pool: MysqlPool, o: MysqlFeedOptions = {}): Feed {
  const { table, head } = namesOf(o.table)
  const retentionMs = milliseconds('retention', o.retention ?? '1h')
  const pollMs = milliseconds('poll', o.poll ?? '100ms')
  if (pollMs > pollAtMostMs) throw new ConfigError(`poll: expected ${pollAtMostMs}ms at most, got '${o.poll}'`)
  const leased = leasing(pool, who)

  // Of whole seconds, since what has fractions goes through the time zone, which has an hour twice a year.
  const nowMs = 'UNIX_TIMESTAMP() * 1000'
  const aged = `
    SELECT ${readOnly}, (
      SELECT MAX(n) FROM (SELECT n, at FROM ${table} ORDER BY n LIMIT ${trimmedAtOnce}) AS oldest WHERE at < ${nowMs} - ?) AS n`
  const trim = `DELETE FROM ${table} WHERE n <= ?`
  const advance = `UPDATE ${head} SET n = n + 1, prev = tag, tag = ?`
  const insert = `INSERT INTO ${table} (n, prev, tag, at, notice) SELECT n, prev, tag, ${nowMs}, ? FROM ${head}`

  /** One statement, so one snapshot: of the rows before the head none is missing. */
  const select = `
    SELECT ${readOnly}, head.n AS headN, head.tag AS headTag, entry.n, entry.prev, entry.tag, entry.notice
    FROM ${head} AS head
    LEFT JOIN (SELECT n, prev, tag, notice FROM ${table} WHERE n > ? ORDER BY n LIMIT ${batch}) AS entry ON TRUE
    ORDER BY entry.n`

  function rowsAfter(n: number): Promise<readonly LogRow[]> {
    return leased(async (connection) => {
      const rows = await rowsOf(connection, select, [n])
      if (rows.length === 0) throw noHead(head)
      refuseReadOnly(rows[0]!, who)
      return rows as unknown as readonly LogRow[]
    })
  }

  return {
    async publish(notice, { signal } = {}) {
      const tag = base64url(crypto.getRandomValues(new Uint8Array(9)))
      await leased(async (connection) => {
        // Each publisher removes some of what has aged, so nobody has to remove much; and before it holds up the others.
        const [oldest] = (await rowsOf(connection, aged, [retentionMs])) as [Row]
        refuseReadOnly(oldest, who)
        if (oldest['n'] !== null) await written(connection, trim, [Number(oldest['n'])])
        await connection.query('START TRANSACTION')
        // What fails here takes its connection with it, and so the transaction.
        const [header] = (await connection.execute(advance, [tag])) as [{ affectedRows: number }, unknown]
        if (header.affectedRows !== 1) throw noHead(head)
        await connection.execute(insert, [JSON.stringify(notice)])
        await connection.query('COMMIT')
      }, signal)
    },

    async *follow({ since, signal, now }) {
      let complete = -Infinity
      for (let cursor = since; !signal.aborted;) {
        const asOf = now()
        const { isAll, ...step } = await readLog(rowsAfter, batch, cursor)
        if (signal.aborted) return
        cursor = step.cursor
        // What is not all is complete as of no instant but that of the last read that was.
        if (isAll) complete = asOf
        yield { ...step, asOf: complete }
        if (isAll) await pause(pollMs, signal)
      }
    },
  }
}

/** The statements that make the tables of a feed if they are not there: run them in order before anything else, as often as you like. */
export function mysqlFeedSchema(name?: string): readonly string[] {
  const { table, head } = namesOf(name)
  const tag = 'CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL'
  return [
    `CREATE TABLE IF NOT EXISTS ${table} (
  n BIGINT NOT NULL PRIMARY KEY,
  prev ${tag},
  tag ${tag},
  at BIGINT NOT NULL,
  notice LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE = InnoDB`,
    `CREATE TABLE IF NOT EXISTS ${head} (
  one TINYINT NOT NULL PRIMARY KEY DEFAULT 1,
  n BIGINT NOT NULL,
  prev ${tag},
  tag ${tag}
) ENGINE = InnoDB`,
    `INSERT IGNORE INTO ${head} (one, n, prev, tag) VALUES (1, 0, '', MD5(RAND()))`,
  ]
}

function namesOf(name = 'holdfast_feed') {
  return { table: quoted(name, 59), head: quoted(`${name}_head`, 64) }
}

function noHead(head: string): Error {
  return new Error(`${who}: ${head} is empty; run what mysqlFeedSchema() gives`)
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', wake)
      resolve()
    }
    const timer = setTimeout(wake, ms)
    signal.addEventListener('abort', wake)
    if (signal.aborted) wake()
  })
}
