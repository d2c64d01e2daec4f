// Calls to MySQL and MariaDB through a pool of mysql2: each in time, and no connection is kept that does not answer.
import { ConfigError } from '../errors.ts'
import { deadline } from './deadline.ts'

/** What `createPool()` of `mysql2/promise` gives. */
export interface MysqlPool {
  getConnection(): Promise<MysqlConnection>
}

/** A connection that is leased from the pool. */
export interface MysqlConnection {
  execute(sql: string, values?: Value[]): Promise<[unknown, unknown]>
  /** For the few statements that MySQL does not prepare. */
  query(sql: string): Promise<[unknown, unknown]>
  release(): void
  destroy(): void
}

/** What `execute` binds. Bytes only as they came from a row. */
export type Value = string | number | null | Uint8Array

export type Row = Readonly<Record<string, unknown>>

/** Does work on a leased connection. A connection whose work failed is not used again, so nothing of it is left open on the server. */
export type Leased = <T>(work: (connection: MysqlConnection) => Promise<T>, signal?: AbortSignal) => Promise<T>

/** An answer that takes longer doesn't come. */
const patienceMs = 1_000
/** InnoDB picks a victim of each deadlock, and its statement has done nothing. */
const deadlock = 1213
const attemptsAtMost = 5
const noSuchTable = 1146

/** `who` is what errors call us, and with `Schema` behind it what makes the tables. */
export function leasing(pool: MysqlPool, who: string): Leased {
  const within = deadline(patienceMs)
  let isFit = false

  /** Rejects when there is none in time, and gives back the one that comes too late. */
  async function lease(): Promise<MysqlConnection> {
    const leased = pool.getConnection()
    try {
      return await within(() => leased)
    } catch (error) {
      void leased.then((late) => late.release()).catch(() => {})
      throw error
    }
  }

  return async (work, signal) => {
    const connection = await lease()
    try {
      signal?.throwIfAborted()
      if (!isFit) await within(() => checkSettings(connection, who))
      isFit = true
      const result = await within(() => work(connection))
      connection.release()
      return result
    } catch (error) {
      if (signal?.aborted === true && error === signal.reason) connection.release()
      else connection.destroy()
      if (errorNumber(error) !== noSuchTable) throw error
      throw new ConfigError(`${who}: ${(error as Error).message}: run ${who}Schema(), or holdfast migrate`)
    }
  }
}

/** How many rows a statement wrote, that is a transaction of its own. */
export function written(connection: MysqlConnection, sql: string, values: Value[]): Promise<number> {
  return afresh(async () => {
    const [header] = await connection.execute(sql, values)
    return (header as { affectedRows: number }).affectedRows
  })
}

/** A whole transaction, which the server has rolled back when it is the victim of a deadlock: then again. */
export async function afresh<T>(transaction: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction()
    } catch (error) {
      if (errorNumber(error) !== deadlock || attempt === attemptsAtMost) throw error
    }
  }
}

export async function rowsOf(connection: MysqlConnection, sql: string, values: Value[]): Promise<readonly Row[]> {
  return (await connection.execute(sql, values))[0] as readonly Row[]
}

/** Columns of every read, for `refuseReadOnly`. */
export const readOnly = '@@global.read_only AS isReadOnly, @@global.innodb_read_only AS isInnodbReadOnly'

/** A replica, or a primary that was replaced, does not know what has ended since. */
export function refuseReadOnly({ isReadOnly, isInnodbReadOnly }: Row, who: string): void {
  // MariaDB 12 has words for it.
  if ([isReadOnly, isInnodbReadOnly].every((value) => ['0', 'OFF'].includes(String(value)))) return
  throw new Error(`${who}: the server is read-only, so it may be behind: reads and writes must go to the primary`)
}

export function errorNumber(error: unknown): number | undefined {
  return (error as { errno?: number } | null)?.errno
}

/** In backquotes, with a schema before it if there is one. */
export function quoted(name: string, atMost: number): string {
  const pattern = /^([a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*$/
  if (!pattern.test(name) || name.split('.').some((part) => part.length > atMost)) {
    throw new ConfigError(
      `table: expected a name of a-z, 0-9 and _ of up to ${atMost} characters, with a schema and a dot before it or not, got '${name}'`,
    )
  }
  return name
    .split('.')
    .map((part) => `\`${part}\``)
    .join('.')
}

/** What would lose writes, cut ids short or change text, silently. All connections of a pool have the same settings. */
async function checkSettings(connection: MysqlConnection, who: string): Promise<void> {
  const [rows] = (await connection.query(
    `SHOW VARIABLES WHERE Variable_name IN
      ('autocommit', 'sql_mode', 'character_set_client', 'character_set_results', 'tx_isolation', 'transaction_isolation')`,
  )) as [Row[], unknown]
  const value = new Map(rows.map((row) => [row['Variable_name'], row['Value'] as string]))
  const isolation = value.get('transaction_isolation') ?? value.get('tx_isolation')
  const wanted: readonly (readonly [boolean, string])[] = [
    [value.get('autocommit') === 'ON', 'autocommit on, since a write must be complete when it resolves'],
    [/STRICT_(TRANS|ALL)_TABLES/.test(value.get('sql_mode') ?? ''), 'STRICT_TRANS_TABLES in sql_mode'],
    [value.get('character_set_client') === 'utf8mb4', "the charset 'utf8mb4'"],
    [value.get('character_set_results') === 'utf8mb4', "the charset 'utf8mb4'"],
    [isolation !== 'READ-UNCOMMITTED', 'an isolation level other than READ UNCOMMITTED'],
  ]
  const missing = wanted.find(([isSo]) => !isSo)
  if (missing !== undefined) throw new ConfigError(`${who}: the connections of the pool must have ${missing[1]}`)
}
