// Sessions, clients and the feed in MySQL or MariaDB: one database, shared by any number of replicas.
import { createPool, type Pool } from 'mysql2/promise'
import { mysqlFeed, mysqlFeedSchema } from 'holdfast/feeds/mysql'
import { mysqlStore, mysqlStoreSchema } from 'holdfast/stores/mysql'
import { StartError } from '../start-error.ts'
import type { ConnectionChanged, Engine, OpenFeed } from './engine.ts'
import { assertKnown, given } from './explained.ts'
import type { FeedUrl } from './feed-url.ts'
import type { Migration } from './migration.ts'
import { inspectMysql } from './mysql-findings.ts'
import type { StoreUrl } from './store-url.ts'

type MysqlUrl = Extract<StoreUrl & FeedUrl, { kind: 'mysql' }>

const connectTimeoutMs = 2_000
/** For connections to say goodbye. One to a server that does not answer never does. */
const partingMs = 1_000

/** ER_OPTION_PREVENTS_STATEMENT */
const readOnly = 1290

const clientsTable = 'holdfast_clients'
/** What makes them, by their names. */
const feedTables = { holdfast_feed: mysqlFeedSchema(), holdfast_feed_head: [] }
const allTables = {
  holdfast_sessions: mysqlStoreSchema(),
  [clientsTable]: mysqlStoreSchema(clientsTable),
  ...feedTables,
}
type Tables = Readonly<Record<string, readonly string[]>>

/** Makes its tables when they are missing. */
export async function mysqlEngine(url: MysqlUrl, changed: ConnectionChanged): Promise<Engine> {
  const pool = await open(url, allTables, 'HOLDFAST_STORE')
  const watched = watch(pool, changed)
  const [sessions, clients] = [mysqlStore(watched), mysqlStore(watched, { table: clientsTable })]
  await assertKnown([sessions, clients], () => close(pool))
  return {
    sessions,
    clients,
    feed: mysqlFeed(watched),
    inspect: () => inspectMysql(pool),
    close: () => close(pool),
  }
}

/** A feed on another server than the sessions. Makes its tables when they are missing. */
export async function openMysqlFeed(url: MysqlUrl, changed: ConnectionChanged): Promise<OpenFeed> {
  const pool = await open(url, feedTables, 'HOLDFAST_FEED')
  return { feed: mysqlFeed(watch(pool, changed)), close: () => close(pool) }
}

export function mysqlMigration(url: MysqlUrl): Migration {
  return migration(url, allTables, 'HOLDFAST_STORE')
}

/** Where MySQL carries the feed alone. */
export function mysqlFeedMigration(url: MysqlUrl): Migration {
  return migration(url, feedTables, 'HOLDFAST_FEED')
}

function migration(url: MysqlUrl, tables: Tables, setting: string): Migration {
  const statements = Object.values(tables).flat()
  return {
    sql: statements.map((statement) => `${statement};\n`).join('\n'),
    async apply() {
      const pool = connect(url, setting)
      try {
        const missing = await missingOf(pool, tables)
        for (const statement of statements) await pool.query(statement)
        return missing
      } catch (error) {
        throw new StartError(`${setting}: ${explain(url, error)}`, error)
      } finally {
        await close(pool)
      }
    },
  }
}

async function open(url: MysqlUrl, tables: Tables, setting: string): Promise<Pool> {
  const pool = connect(url, setting)
  try {
    await prepare(pool, tables)
    return pool
  } catch (error) {
    await close(pool)
    throw new StartError(`${setting}: ${explain(url, error)}`, error)
  }
}

function connect({ url }: MysqlUrl, setting: string): Pool {
  // What mysql2 would say has the password in it.
  if (!URL.canParse(url))
    throw new StartError(`${setting}: expected mysql://<user>@<host>:<port>/<database> with one host`)
  // mysql2 itself looks for a CA alone, not whose certificate it is.
  const isTls = new URL(url).searchParams.get('ssl') === 'true'
  return createPool({
    uri: url,
    ...(isTls && { ssl: { rejectUnauthorized: true, verifyIdentity: true } }),
    connectTimeout: connectTimeoutMs,
    enableKeepAlive: true,
  })
}

/** Only what is missing is made, so a user without the right to make tables can start where somebody else did. */
async function prepare(pool: Pool, tables: Tables): Promise<void> {
  const [rows] = await pool.query('SELECT @@global.read_only OR @@global.innodb_read_only AS isReadOnly')
  const [{ isReadOnly }] = rows as [{ isReadOnly: number }]
  // What the server itself says of writes, unless the user's rights pass over it.
  if (isReadOnly !== 0) throw Object.assign(new Error('read-only'), { errno: readOnly })
  if ((await missingOf(pool, tables)).length === 0) return
  for (const statement of Object.values(tables).flat()) await pool.query(statement)
}

async function missingOf(pool: Pool, tables: Tables): Promise<readonly string[]> {
  const names = Object.keys(tables)
  const [rows] = await pool.query(
    'SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN (?)',
    [names],
  )
  const made = new Set((rows as { name: string }[]).map(({ name }) => name))
  return names.filter((name) => !made.has(name))
}

/** Every call begins by taking a connection, so that is where an outage shows. */
function watch(pool: Pool, changed: ConnectionChanged): Pick<Pool, 'getConnection'> {
  let up = true
  const hear: ConnectionChanged = (cause) => {
    if (up !== (cause === null)) changed(cause)
    up = cause === null
  }
  return {
    async getConnection() {
      try {
        const connection = await pool.getConnection()
        hear(null)
        return connection
      } catch (error) {
        hear(error as Error)
        throw error
      }
    },
  }
}

async function close(pool: Pool): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, partingMs)
  })
  // A connection that broke meanwhile is gone too.
  await Promise.race([pool.end().catch(() => {}), late])
  clearTimeout(timer)
}

function explain({ url, shown }: MysqlUrl, error: unknown): string {
  const { errno, code = 'no answer', message } = error as Error & { errno?: number; code?: string }
  switch (errno) {
    case 1045:
    case 1698:
      return `MySQL at ${shown} does not accept the user name or password of the URL${given(url)}: correct them`
    case 1044:
    case 1049:
      return `MySQL at ${shown} has no such database, or not for this user: make it (CREATE DATABASE), grant it, or name another`
    case 1142:
      return (
        `the MySQL user at ${shown} may not make tables (${message}): ` +
        'GRANT CREATE, SELECT, INSERT, UPDATE, DELETE on the database, or have somebody who may run `holdfast migrate`'
      )
    case readOnly:
      return `MySQL at ${shown} is read-only: put its primary into the URL`
    // ER_SECURE_TRANSPORT_REQUIRED
    case 3159:
      return `MySQL at ${shown} wants TLS: add ?ssl=true to the URL`
    default:
      if (code === 'HANDSHAKE_NO_SSL_SUPPORT')
        return `MySQL at ${shown} does not speak TLS, which ?ssl asks for: turn it on there, or take ?ssl away`
      if (code === 'HANDSHAKE_SSL_ERROR')
        return `there is no TLS with MySQL at ${shown} (${message}): name the CA of its certificate in NODE_EXTRA_CA_CERTS, and the host as the certificate has it`
      return `MySQL at ${shown} can't be reached (${code}): see that it runs, that host and port are right, and that it is MySQL`
  }
}
