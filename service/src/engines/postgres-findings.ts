// What an operator should know of a PostgreSQL that keeps sessions.
import type { Pool } from 'pg'
import type { Finding } from './engine.ts'

/** PostgreSQL 12: what is older has had its last fix in 2023. */
const oldestVersion = 120_000

/** A table with fewer dead rows than this is no matter. */
const manyDead = 100_000

interface Server {
  readonly version: string
  readonly number: number
  readonly encoding: string
  readonly commit: string
  readonly fsync: string
  readonly standbys: string
  readonly autovacuum: string
}

interface Table {
  readonly name: string
  readonly live: number
  readonly dead: number
  readonly size: string
}

export async function inspectPostgres(pool: Pool, tables: readonly string[]): Promise<readonly Finding[]> {
  const { rows: servers } = await pool.query<Server>(`
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
      current_setting('server_encoding') AS encoding, current_setting('synchronous_commit') AS commit, current_setting('fsync') AS fsync,
      current_setting('synchronous_standby_names') AS standbys, current_setting('autovacuum') AS autovacuum`)
  const { rows: sizes } = await pool.query<Table>(
    `SELECT relname AS name, n_live_tup::float8 AS live, n_dead_tup::float8 AS dead, pg_size_pretty(pg_total_relation_size(relid)) AS size
    FROM pg_stat_user_tables WHERE relid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest($1::text[]) AS name)) ORDER BY name`,
    [tables],
  )
  const [server] = servers as [Server]
  return [
    version(server),
    encoding(server),
    durability(server),
    failover(server),
    ...sizes.map((size) => dead(size, server)),
  ]
}

function version({ version: found, number }: Server): Finding {
  const ok = number >= oldestVersion
  return { what: 'PostgreSQL version', ok, found, advice: ok ? null : 'Holdfast needs PostgreSQL 12: upgrade' }
}

/** Others have no place for every character of a user's name. */
function encoding({ encoding: found }: Server): Finding {
  const ok = found === 'UTF8'
  return {
    what: 'PostgreSQL encoding',
    ok,
    found,
    advice: ok ? null : "sessions with characters that it lacks can't be written: CREATE DATABASE … ENCODING 'UTF8'",
  }
}

function durability({ commit, fsync }: Server): Finding {
  const ok = commit !== 'off' && fsync === 'on'
  return {
    what: 'PostgreSQL durability',
    ok,
    found: `synchronous_commit ${commit}, fsync ${fsync}`,
    advice: ok ? null : 'a crash can bring back sessions that were ended: set synchronous_commit and fsync to on',
  }
}

function failover({ standbys, commit }: Server): Finding {
  const waits = standbys !== '' && commit !== 'local' && commit !== 'off'
  return {
    what: 'PostgreSQL failover',
    ok: true,
    found: waits ? `commits wait for ${standbys}` : 'commits wait for no standby',
    advice: waits
      ? null
      : 'with a standby: a failover can bring back the sessions that were ended last; synchronous_standby_names keeps it from that',
  }
}

function dead({ name, live, dead: count, size }: Table, { autovacuum }: Server): Finding {
  const ok = autovacuum === 'on' && count < Math.max(manyDead, live)
  return {
    what: `table ${name}`,
    ok,
    found: `${live} rows, ${count} dead, ${size}, autovacuum ${autovacuum}`,
    advice: ok
      ? null
      : `it grows and gets slower: VACUUM ${name}, and see what keeps autovacuum from it (switched off, or a transaction that stays open)`,
  }
}
