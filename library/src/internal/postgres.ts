// What the store and the feed in PostgreSQL share: pg's pool by the members used, and what a leased connection may say by itself.
import { ConfigError } from '../errors.ts'

/** What `new Pool()` of pg 8 gives. */
export interface PostgresPool {
  connect(leased: (error: Error | undefined, connection: PostgresLease | undefined) => void): void
}

/** A connection that is leased from the pool. */
export interface PostgresLease {
  query(query: string | PostgresStatement, values?: unknown[]): Promise<PostgresResult>
  on(event: 'error' | 'notice' | 'notification', listener: (message: object) => void): unknown
  off(event: 'error' | 'notice' | 'notification', listener: (message: object) => void): unknown
  release(destroy?: boolean): void
}

/** Prepared under its name when a connection first meets it. */
export interface PostgresStatement {
  readonly name: string
  readonly text: string
  readonly values: unknown[]
}

export interface PostgresResult {
  readonly rows: Record<string, unknown>[]
  readonly rowCount: number | null
}

/** The name of a table, with or without its schema, that needs no quotes and leaves room for those made from it. */
export function tableNamed(name: string): string {
  if (!/^([a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*$/.test(name) || name.length > 50) {
    throw new ConfigError(
      `table: expected a name of a-z, 0-9 and _, with a schema and a dot before it or not, got '${name}'`,
    )
  }
  return name
}

/** For the error of a table that is not there, one that says what makes it; any other as it is. `who` is what errors call us. */
export function orNoTable(error: unknown, who: 'postgresStore' | 'postgresFeed'): unknown {
  const { code, message } = error as Error & { code?: unknown }
  return code === '42P01' ? new ConfigError(`${who}: ${message}: run ${who}Schema(), or holdfast migrate`) : error
}

const ignore = () => {}

/**
 * Not by the pool's promise: a server that dies may say so in the same packet that makes a new connection ready, before anybody who awaits the connection could
 * listen, and an error that nobody listens to ends the process.
 */
export function lease(pool: PostgresPool): Promise<PostgresLease> {
  return new Promise((resolve, reject) => {
    pool.connect((error, connection) => {
      if (connection === undefined) return reject(error!)
      connection.off('error', ignore)
      connection.on('error', ignore)
      resolve(connection)
    })
  })
}

/** Listens to a leased connection until `end` gives it back. An error of its own, which `broken` hears of, must not end the process. */
export function attended(connection: PostgresLease, broken: () => void = () => {}) {
  let isClean = true
  let isOver = false
  // By the code, since severities come in the server's language.
  const noticed = (message: object) => {
    if ((message as { code?: unknown }).code !== '00000') isClean = false
  }
  connection.on('error', broken)
  connection.on('notice', noticed)
  return {
    /** When waiting for a synchronous standby is called off, the commit is reported as done, with a warning. */
    assertClean(): void {
      if (!isClean) throw new Error('postgres: committed with a warning, perhaps on this server alone')
    },
    end(destroy: boolean): void {
      if (isOver) return
      isOver = true
      connection.off('notice', noticed)
      if (!destroy) connection.off('error', broken)
      connection.release(destroy)
    },
  }
}
