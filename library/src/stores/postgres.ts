// Sessions in PostgreSQL: one row each, one statement per call.
import {
  attended,
  lease as leaseOf,
  orNoTable,
  tableNamed,
  type PostgresLease,
  type PostgresPool,
  type PostgresResult,
  type PostgresStatement,
} from '../internal/postgres.ts'
import { assertKnownFormat, formatComment } from '../internal/table-format.ts'
import { unref, waitByChance } from '../internal/timers.ts'
import type { ScannableStore, SessionRecord, SweepableStore } from '../store.ts'

/** The table, which `postgresStoreSchema` must have been given too, and by which clock the sessions in it expire. */
export interface PostgresStoreOptions {
  /** Name of the table, with its schema and a dot before it or not: a-z, 0-9 and `_`. Default `holdfast_sessions`. */
  table?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/** So long a query is waited for when its caller has left; then its connection is given up. */
const patienceMs = 1_000
/** The same for the calls that nobody limits. */
const longPatienceMs = 10_000
/** Of a statement that was rolled back because of others: at READ COMMITTED hardly any is. */
const attempts = 10
/** So much later than its end a record may be swept that was extended; see the schema. */
const slackMs = 3_600_000

/**
 * Keeps sessions in a table of PostgreSQL 12 or later, the one that `postgresStoreSchema` makes. `pool` is yours, a `Pool` of pg 8; give it an
 * `error` listener, and `connectionTimeoutMillis: 2000` or so, without which connections to a server that doesn't answer fill it for
 * good. `keepAlive: true` notices dead ones while they are idle.
 *
 * A call without an answer a second after its caller left (or 10 s after it began, where it has no `signal`) rejects and its connection is closed;
 * so are, when next wanted, those that have not answered anything since. A call whose caller left before it got a connection is not sent.
 *
 * Durable is what the server means by it: `synchronous_commit` must not be `off`, and with `synchronous_standby_names` nothing acknowledged is lost
 * with the primary. While a synchronous standby is away, abandoned writes go on waiting in the server: leave room in `max_connections`, or name
 * two (`ANY 1 (a, b)`). A standby is never read from: calls reject. A primary that was replaced must be shut off, since it would go on answering.
 *
 * Statements are prepared, under names that begin with that of the table: PgBouncer has to know them (1.21, `max_prepared_statements`), or pool by session.
 * What is swept has expired by the server's clock too. Any isolation level will do; READ COMMITTED, which is the default, is the fastest.
 * @throws ConfigError when `table` is not such a name. Calls reject with one when there is no such table, or a newer Holdfast made it.
 */
export function postgresStore(pool: PostgresPool, o: PostgresStoreOptions = {}): SweepableStore & ScannableStore {
  const clock = o.clock ?? Date
  const sql = statements(namesOf(o.table).table)
  const lease = soundLeases(pool)
  let isKnown = false

  async function ask(name: keyof typeof sql, values: unknown[], signal?: AbortSignal): Promise<PostgresResult> {
    if (!isKnown) await checkFormat(signal)
    return answer(name, values, signal)
  }

  async function checkFormat(signal?: AbortSignal): Promise<void> {
    const { isThere, comment } = (await answer('format', [sql.table], signal)).rows[0]!
    assertKnownFormat('postgresStore', sql.table, comment)
    isKnown = isThere === true
  }

  async function answer(name: keyof typeof sql, values: unknown[], signal?: AbortSignal): Promise<PostgresResult> {
    const statement = { name: `${sql.table}.${name}`, text: sql[name], values }
    for (let attempt = 1; ; attempt++) {
      try {
        return await once(statement, signal)
      } catch (error) {
        if (!wasRolledBack(error) || attempt === attempts || signal?.aborted === true) throw error
        // All who were in each other's way would be so again.
        await waitByChance(attempt)
      }
    }
  }

  async function once(statement: PostgresStatement, signal?: AbortSignal): Promise<PostgresResult> {
    const { connection, answered, silent } = await lease()
    if (signal?.aborted === true) {
      connection.release()
      throw signal.reason
    }
    const { assertClean, end } = attended(connection)
    const settled = whenGivenUp(signal, () => {
      silent()
      end(true)
    })
    try {
      const result = await connection.query(statement)
      answered()
      assertClean()
      end(false)
      return result
    } catch (error) {
      end(!wasRolledBack(error))
      throw orNoTable(error, 'postgresStore')
    } finally {
      settled()
    }
  }

  async function records(name: 'get' | 'settle' | 'list' | 'scan', values: unknown[], signal?: AbortSignal) {
    const { rows } = await ask(name, values, signal)
    if (rows[0]!['standby'] === true) throw new Error('postgresStore: the server is a standby, which may be behind')
    return rows.flatMap((row) => (row['id'] === null ? [] : [toRecord(row)]))
  }

  async function changed(name: 'insert' | 'update' | 'endIf', values: unknown[], signal?: AbortSignal) {
    return (await ask(name, values, signal)).rowCount === 1
  }

  async function get(name: 'get' | 'settle', id: string, signal?: AbortSignal): Promise<SessionRecord | null> {
    return (await records(name, [encode(id), clock.now()], signal))[0] ?? null
  }

  return {
    get: (id, options) => get(options?.settles === true ? 'settle' : 'get', id, options?.signal),

    async put(record, expected, { signal } = {}) {
      const now = clock.now()
      if (record.expiresAt > now) {
        return expected === null
          ? changed('insert', [...toRow(record), now], signal)
          : changed('update', [...toRow(record), now, expected], signal)
      }
      if (expected === null) return (await get('get', record.id, signal)) === null
      return changed('endIf', [encode(record.id), now, expected], signal)
    },

    async delete(ids, { signal } = {}) {
      if (ids.length === 0) return []
      const now = clock.now()
      const { rows } = await ask('end', [ids.map(encode)], signal)
      // Null where nothing was removed.
      return rows.filter((row) => Number(row['expires_at']) > now).map((row) => decode(row['id'] as string))
    },

    listByUser: (userId, options) => records('list', [encode(userId), clock.now()], options?.signal),

    async sweep(limit) {
      return (await ask('sweep', [clock.now(), limit])).rowCount ?? 0
    },

    async scan({ cursor, limit }) {
      const page = await records('scan', [encode(cursor ?? ''), clock.now(), limit])
      return { records: page, cursor: page.length < limit ? null : (page.at(-1)?.id ?? null) }
    },
  }
}

/** The table of a store, made if it is not there: run it before anything else, as often as you like. What a newer Holdfast made is left as it is. */
export function postgresStoreSchema(name?: string): string {
  const { table, index } = namesOf(name)
  // sweep_at is an instant at or after expires_at, which stays the same for most of the writes that extend a session, so that these need not
  // touch any index and can stay on their page (HOT); hence the room that the fillfactor leaves.
  return `
SELECT pg_advisory_xact_lock(hashtext('${table}'));
CREATE TABLE IF NOT EXISTS ${table} (
  id text COLLATE "C" PRIMARY KEY,
  user_id text COLLATE "C",
  credential text NOT NULL,
  identity text NOT NULL,
  data text NOT NULL,
  created_at bigint NOT NULL,
  seen_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  epoch bigint NOT NULL,
  version bigint NOT NULL,
  sweep_at bigint NOT NULL
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS ${index}_by_user ON ${table} (user_id, created_at DESC) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS ${index}_by_sweep ON ${table} (sweep_at);
DO $$ BEGIN
  IF obj_description('${table}'::regclass) IS NULL THEN COMMENT ON TABLE ${table} IS '${formatComment}'; END IF;
END $$;
`
}

function namesOf(name = 'holdfast_sessions') {
  const table = tableNamed(name)
  return { table, index: table.slice(table.indexOf('.') + 1) }
}

function statements(table: string) {
  const columns = 'id, user_id, credential, identity, data, created_at, seen_at, expires_at, epoch, version'
  // One row at least, which says whether it is a standby that answers.
  const read = (select: string, more = '') =>
    `SELECT pg_is_in_recovery() AS standby${more}, found.* FROM (SELECT) AS one LEFT JOIN LATERAL (${select}) AS found ON true`
  // A write whose wait for the standby was called off shows, though it may yet be lost. This is written to the log after it, so whoever waits for
  // this to be on a standby has waited for that too. A statement that finds nothing to change would not wait otherwise.
  const mark = `pg_logical_emit_message(true, 'holdfast', '')`
  // By the server's clock too: what a machine whose clock is ahead takes for expired is live for the others.
  const over = 'least($1, floor(extract(epoch FROM now()) * 1000)::bigint)'
  const byId = `SELECT ${columns} FROM ${table} WHERE id = $1 AND expires_at > $2`
  return {
    table,
    format: `SELECT to_regclass($1) IS NOT NULL AS "isThere", obj_description(to_regclass($1), 'pg_class') AS comment`,
    get: read(byId),
    settle: read(byId, `, ${mark}`),
    list: read(
      `SELECT ${columns} FROM ${table} WHERE user_id = $1 AND expires_at > $2 ORDER BY user_id, created_at DESC`,
    ),
    scan: read(`SELECT ${columns} FROM ${table} WHERE id > $1 AND expires_at > $2 ORDER BY id LIMIT $3`),
    insert: `
      INSERT INTO ${table} AS stored (${columns}, sweep_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8)
      ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, credential = excluded.credential, identity = excluded.identity,
        data = excluded.data, created_at = excluded.created_at, seen_at = excluded.seen_at, expires_at = excluded.expires_at,
        epoch = excluded.epoch, version = excluded.version, sweep_at = excluded.sweep_at
      WHERE stored.expires_at <= $11`,
    update: `
      UPDATE ${table} SET user_id = $2, credential = $3, identity = $4, data = $5, created_at = $6, seen_at = $7, expires_at = $8, epoch = $9,
        version = $10, sweep_at = CASE WHEN sweep_at BETWEEN $8 AND $8 + ${slackMs} THEN sweep_at ELSE $8 + ${slackMs} END
      WHERE id = $1 AND version = $12 AND expires_at > $11`,
    endIf: `DELETE FROM ${table} WHERE id = $1 AND version = $3 AND expires_at > $2`,
    end: `
      WITH ended AS (DELETE FROM ${table} WHERE id = ANY ($1) RETURNING id, expires_at)
      SELECT ${mark}, ended.* FROM (SELECT) AS one LEFT JOIN ended ON true`,
    // Several may sweep side by side. What is locked here can't be written anew before it is removed, so its place is still its own, and found
    // without a look into an index that is as large as the table.
    sweep: `
      DELETE FROM ${table} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ${table} WHERE sweep_at <= ${over} AND expires_at <= ${over} ORDER BY sweep_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
  }
}

/** A connection, and where to say how it went. */
interface SoundLease {
  readonly connection: PostgresLease
  answered(): void
  silent(): void
}

/** After a silence every connection that has not answered since may be as dead as the one that was silent: it is closed, not asked. */
function soundLeases(pool: PostgresPool): () => Promise<SoundLease> {
  let silences = 0
  const lastAnswer = new WeakMap<PostgresLease, number>()

  return async () => {
    for (;;) {
      const connection = await leaseOf(pool)
      const answered = () => void lastAnswer.set(connection, silences)
      const isSound = lastAnswer.get(connection) === silences
      if (isSound || !lastAnswer.has(connection)) {
        answered()
        return { connection, answered, silent: () => void silences++ }
      }
      connection.release(true)
    }
  }
}

/** Calls `giveUp` when nobody waits any more and patience has run out. Calling what it returns calls it off. */
function whenGivenUp(signal: AbortSignal | undefined, giveUp: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  const giveUpIn = (ms: number) => {
    timer = unref(setTimeout(giveUp, ms))
  }
  const left = () => giveUpIn(patienceMs)
  if (signal === undefined) giveUpIn(longPatienceMs)
  else signal.addEventListener('abort', left)
  return () => {
    signal?.removeEventListener('abort', left)
    clearTimeout(timer)
  }
}

/** Serialization failure, deadlock: nothing was written, and it may go well the next time. */
function wasRolledBack(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return code === '40001' || code === '40P01'
}

/** Text of PostgreSQL can hold every character but U+0000: that, and U+0001 for the sake of it, are written as U+0001 and a digit. */
function encode(text: string): string {
  return text.replaceAll('\u0001', '\u00011').replaceAll('\u0000', '\u00010')
}

function decode(text: string): string {
  return text.replaceAll('\u00010', '\u0000').replaceAll('\u00011', '\u0001')
}

function toRow(record: SessionRecord): unknown[] {
  const { id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version } = record
  const user = userId === null ? null : encode(userId)
  const texts = [encode(id), user, encode(credential), encode(identity), encode(data)]
  return [...texts, createdAt, seenAt, expiresAt, epoch, version]
}

/** pg gives a bigint as text, unless its user wants it otherwise. */
function toRecord(row: Record<string, unknown>): SessionRecord {
  const userId = row['user_id'] as string | null
  return {
    id: decode(row['id'] as string),
    userId: userId === null ? null : decode(userId),
    credential: decode(row['credential'] as string),
    identity: decode(row['identity'] as string),
    data: decode(row['data'] as string),
    createdAt: Number(row['created_at']),
    seenAt: Number(row['seen_at']),
    expiresAt: Number(row['expires_at']),
    epoch: Number(row['epoch']),
    version: Number(row['version']),
  }
}
