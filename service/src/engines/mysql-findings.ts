// What an operator should know of a MySQL or MariaDB that keeps sessions.
import type { Pool } from 'mysql2/promise'
import type { Finding } from './engine.ts'

type Values = ReadonlyMap<string, string>

const asked = [
  'version',
  'innodb_flush_log_at_trx_commit',
  'log_bin',
  'sync_binlog',
  // One of them has the words of before MySQL 8.0.26.
  ...['source', 'master'].flatMap((kind) =>
    ['enabled', 'wait_point', 'timeout', 'status'].map((name) => `rpl_semi_sync_${kind}_${name}`),
  ),
]
/** Within a day somebody notices that writes wait. */
const longMs = 86_400_000

export async function inspectMysql(pool: Pool): Promise<readonly Finding[]> {
  const values = new Map<string, string>()
  for (const kind of ['VARIABLES', 'STATUS']) {
    const [rows] = await pool.query(`SHOW GLOBAL ${kind} WHERE Variable_name IN (?)`, [asked])
    for (const row of rows as { Variable_name: string; Value: string }[]) {
      values.set(row.Variable_name.toLowerCase(), row.Value)
    }
  }
  const [grants] = await pool.query('SHOW GRANTS')
  return [
    version(values),
    rights((grants as object[]).map((grant) => String(Object.values(grant)[0])).join('\n')),
    durability(values),
    replication(values),
  ]
}

function version(values: Values): Finding {
  const found = values.get('version') ?? 'unknown'
  const isMariadb = /mariadb/i.test(found)
  const [major = 0, minor = 0] = found.split('.').map((part) => Number.parseInt(part, 10))
  const ok = isMariadb ? major > 10 || (major === 10 && minor >= 6) : major >= 8
  return {
    what: 'MySQL version',
    ok,
    found,
    advice: ok ? null : 'Holdfast needs MySQL 8 or MariaDB 10.6, and is tested with MariaDB 10.11: upgrade it',
  }
}

/** A primary that was replaced is made read-only; who may write to it all the same loses what it writes. */
function rights(grants: string): Finding {
  const found = /\b(SUPER|READ.ONLY ADMIN|CONNECTION.ADMIN)\b|ALL PRIVILEGES(?= ON \*\.\*)/.exec(grants)?.[0]
  const ok = found === undefined
  return {
    what: 'rights of the MySQL user',
    ok,
    found: ok ? 'none that pass over read_only' : found,
    advice: ok
      ? null
      : 'it may write to a primary that was replaced, and lose an ending there: give Holdfast a user with SELECT, INSERT, UPDATE, DELETE and CREATE on its database alone',
  }
}

function durability(values: Values): Finding {
  const flush = values.get('innodb_flush_log_at_trx_commit') ?? 'unknown'
  const sync = values.get('log_bin') === 'ON' ? (values.get('sync_binlog') ?? 'unknown') : 'no binary log'
  const ok = flush === '1' && (sync === '1' || sync === 'no binary log')
  return {
    what: 'MySQL durability',
    ok,
    found: `innodb_flush_log_at_trx_commit ${flush}, sync_binlog ${sync}`,
    advice: ok
      ? null
      : 'a power cut can bring ended sessions back: set innodb_flush_log_at_trx_commit = 1 and sync_binlog = 1',
  }
}

/** Whether there are replicas at all can only be asked with rights that Holdfast should not have. */
function replication(values: Values): Finding {
  const kind = values.has('rpl_semi_sync_source_enabled') ? 'source' : 'master'
  const value = (name: string) => values.get(`rpl_semi_sync_${kind}_${name}`)
  const isSemi = value('enabled') === 'ON'
  // After the timeout the primary goes on alone, and says so here only.
  const isAlone = isSemi && value('status') === 'OFF'
  const missing = [
    isSemi && value('wait_point') === 'AFTER_SYNC'
      ? []
      : 'use semi-synchronous replication with AFTER_SYNC, or Group Replication',
    isSemi && Number(value('timeout')) < longMs
      ? `set rpl_semi_sync_${kind}_timeout = 4294967295, so that writes wait for a replica, however long`
      : [],
    isAlone ? 'bring back the replicas, none of which confirms anything now' : [],
  ].flat()
  return {
    what: 'MySQL replication',
    ok: !isAlone,
    found: isSemi
      ? `semi-synchronous${isAlone ? ', but given up' : ''}, ${value('wait_point')}, timeout ${value('timeout')} ms`
      : 'no replica is waited for',
    advice:
      missing.length === 0
        ? null
        : `if a replica may take over, the last endings can be lost with the primary: ${missing.join('; ')}`,
  }
}
