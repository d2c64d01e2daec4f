// The feed in PostgreSQL: a table whose rows are numbered in the order of their commits.
import { base64url } from '#crypto'
import type { Feed } from '../feed.ts'
import { bell } from '../internal/bell.ts'
import { deadline } from '../internal/deadline.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import { readLog, type LogRow } from '../internal/numbered-log.ts'
import {
  attended,
  lease as leaseOf,
  orNoTable,
  tableNamed,
  type PostgresLease as Lease,
  type PostgresPool,
} from '../internal/postgres.ts'

/** The table, which `postgresFeedSchema` must have been given too, and how far back the feed goes. */
export interface PostgresFeedOptions {
  /** The name of the table, with a schema before it if you like. Default `holdfast_feed`. */
  table?: string | undefined
  /** How long notices are kept for readers that are away; after that they find a gap. Default `'1h'`. */
  retention?: Duration | undefined
}

/** An answer that takes longer doesn't come. */
const patienceMs = 1_000
const pollMs = 100
const batch = 1_000

/**
 * A feed in PostgreSQL 12 or later, in the tables that `postgresFeedSchema` makes. The pool is yours; give it an `error` listener. Each follower
 * leases one of its connections for as long as it follows, each publish one for as long as it takes: leave room for both (`max`).
 *
 * A publish is one transaction. All of them lock one row, so numbers follow the order of the commits and have no holes, at the price that one
 * commits at a time. Durable is what the server means by it: `synchronous_commit` must not be `off`, and with `synchronous_standby_names` a notice
 * outlives the primary. A failover or a restored backup without the last notices is a gap. A standby is never read from; a primary that was
 * replaced must be shut off, since it would go on answering.
 *
 * A follower is woken by NOTIFY, and looks every 100 ms (so it works without, as behind a pooler): some 10 short queries a second. A query without an
 * answer within a second rejects.
 */
export function postgresFeed(pool: PostgresPool, o: PostgresFeedOptions = {}): Feed {
  const { table, head, channel } = namesOf(o.table)
  const retentionMs = milliseconds('retention', o.retention ?? '1h')
  const within = deadline(patienceMs)

  /** Each publisher removes some of what has aged, so nobody has to remove much. */
  const insert = `
    WITH head AS (UPDATE ${head} SET n = n + 1, prev = tag, tag = $1 RETURNING n, prev),
    aged AS (
      DELETE FROM ${table} WHERE n IN (
        SELECT n FROM (SELECT n, at FROM ${table} ORDER BY n LIMIT 10) AS oldest
        WHERE at < clock_timestamp() - $3 * interval '1 millisecond')),
    entry AS (INSERT INTO ${table} (n, prev, tag, notice) SELECT n, prev, $1, $2 FROM head RETURNING n)
    SELECT n, pg_notify('${channel}', '') FROM entry`

  /** One statement, so one snapshot: of the rows before the head none is missing. */
  const select = `
    SELECT pg_is_in_recovery() AS standby, head.n AS "headN", head.tag AS "headTag",
      entry.n, entry.prev, entry.tag, entry.notice
    FROM ${head} AS head
    LEFT JOIN LATERAL (SELECT * FROM ${table} WHERE n > $1 ORDER BY n LIMIT ${batch}) AS entry ON true
    ORDER BY entry.n`

  async function rowsAfter(lease: Lease, n: number): Promise<readonly LogRow[]> {
    const { rows } = await lease.query(select, [n])
    if (rows.length === 0) throw noHead(head)
    if (rows[0]!['standby'] === true) throw new Error('postgresFeed: the server is a standby, which may be behind')
    return rows as unknown as readonly LogRow[]
  }

  /** Rejects when there is none in time, and gives back the one that comes too late. */
  async function lease(): Promise<Lease> {
    const leased = leaseOf(pool)
    try {
      return await within(() => leased)
    } catch (error) {
      void leased.then((late) => late.release()).catch(() => {})
      throw error
    }
  }

  return {
    async publish(notice) {
      const connection = await lease()
      const { assertClean, end } = attended(connection)
      try {
        const values = [base64url(crypto.getRandomValues(new Uint8Array(9))), JSON.stringify(notice), retentionMs]
        const { rows } = await within(() => connection.query(insert, values))
        if (rows.length === 0) throw noHead(head)
        assertClean()
        end(false)
      } catch (error) {
        end(true)
        throw orNoTable(error, 'postgresFeed')
      }
    },

    async *follow({ since, signal, now }) {
      if (signal.aborted) return
      const connection = await lease()
      const { news, end } = listened(connection)
      // It listens: nobody else should have it. A reader that never comes back doesn't keep it either.
      const leave = () => end(true)
      signal.addEventListener('abort', leave)
      try {
        await within(() => connection.query(`LISTEN "${channel}"`))
        let cursor = since
        let complete = -Infinity
        while (!signal.aborted) {
          const asOf = now()
          const { isAll, ...step } = await within(() => readLog((n) => rowsAfter(connection, n), batch, cursor))
          cursor = step.cursor
          // What is not all is complete as of no instant but that of the last read that was.
          if (isAll) complete = asOf
          yield { ...step, asOf: complete }
          if (isAll && !signal.aborted) await news()
        }
      } catch (error) {
        if (!signal.aborted) throw orNoTable(error, 'postgresFeed')
      } finally {
        signal.removeEventListener('abort', leave)
        leave()
      }
    },
  }
}

/** The tables of a feed, made if they are not there: run it before anything else, as often as you like. */
export function postgresFeedSchema(name?: string): string {
  const { table, head, channel } = namesOf(name)
  return `
SELECT pg_advisory_xact_lock(hashtext('${channel}'));
CREATE TABLE IF NOT EXISTS ${table} (
  n bigint PRIMARY KEY,
  prev text NOT NULL,
  tag text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  notice text NOT NULL
);
CREATE TABLE IF NOT EXISTS ${head} (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  n bigint NOT NULL,
  prev text NOT NULL,
  tag text NOT NULL
);
INSERT INTO ${head} (n, prev, tag) VALUES (0, '', md5(random()::text)) ON CONFLICT DO NOTHING;
`
}

function namesOf(name = 'holdfast_feed') {
  const table = tableNamed(name)
  return { table, head: `${table}_head`, channel: table }
}

function noHead(head: string): Error {
  return new Error(`postgresFeed: ${head} is empty; run what postgresFeedSchema() gives`)
}

/** Hears of notices on a leased connection until `end` gives it back. */
function listened(connection: Lease) {
  const { ring, news } = bell(pollMs)
  const { end } = attended(connection, ring)
  connection.on('notification', ring)
  return {
    news,
    end(destroy: boolean): void {
      ring()
      connection.off('notification', ring)
      end(destroy)
    },
  }
}
