// Sessions in PostgreSQL, and a feed there for those who keep them elsewhere.
import type { Pool } from 'pg'
import { postgresFeed, postgresFeedSchema } from 'holdfast/feeds/postgres'
import { postgresStore, postgresStoreSchema } from 'holdfast/stores/postgres'
import { StartError } from '../start-error.ts'
import type { ConnectionChanged, Engine, OpenFeed } from './engine.ts'
import { assertKnown, given, isUntrusted } from './explained.ts'
import type { Migration } from './migration.ts'
import { inspectPostgres } from './postgres-findings.ts'
import { oneEach, primaryPool, StandbyError } from './postgres-pool.ts'

interface PostgresUrl {
  readonly url: string
  readonly shown: string
}

/** Tables, and what makes them. */
interface Tables {
  readonly setting: 'HOLDFAST_STORE' | 'HOLDFAST_FEED'
  readonly names: readonly string[]
  readonly sql: string
}

const clientsTable = 'holdfast_clients'

const ofFeed: Tables = {
  setting: 'HOLDFAST_FEED',
  names: ['holdfast_feed', 'holdfast_feed_head'],
  sql: postgresFeedSchema(),
}

const ofStore: Tables = {
  setting: 'HOLDFAST_STORE',
  names: ['holdfast_sessions', clientsTable, ...ofFeed.names],
  sql: postgresStoreSchema() + postgresStoreSchema(clientsTable) + ofFeed.sql,
}

/** Requests share so many connections; more would make the server slower, not us faster. */
const connections = 10
/** Apart, since publishes wait for each other: one follows, the others publish. */
const feedConnections = 4

/** Makes its tables when they are missing. */
export async function postgresEngine(url: PostgresUrl, changed: ConnectionChanged): Promise<Engine> {
  const pool = await opened(url, ofStore, connections, changed)
  const [sessions, clients] = [postgresStore(pool), postgresStore(pool, { table: clientsTable })]
  await assertKnown([sessions, clients], () => pool.end())
  const feedPool = primaryPool(url.url, feedConnections)
  return {
    sessions,
    clients,
    feed: postgresFeed(feedPool),
    inspect: () => inspectPostgres(pool, ofStore.names),
    async close() {
      await Promise.all([pool.end(), feedPool.end()])
    },
  }
}

/** Makes its tables when they are missing. */
export async function openPostgresFeed(url: PostgresUrl, changed: ConnectionChanged): Promise<OpenFeed> {
  const pool = await opened(url, ofFeed, feedConnections, changed)
  return { feed: postgresFeed(pool), close: () => pool.end() }
}

export function postgresMigration(url: PostgresUrl): Migration {
  return migration(url, ofStore)
}

/** Where PostgreSQL carries the feed alone. */
export function postgresFeedMigration(url: PostgresUrl): Migration {
  return migration(url, ofFeed)
}

function migration(url: PostgresUrl, tables: Tables): Migration {
  return {
    // Whoever runs it may run it statement by statement; what it locks is locked until the end.
    sql: `BEGIN;\n${tables.sql.trim()}\nCOMMIT;\n`,
    async apply() {
      const pool = await reached(url, tables, 1)
      try {
        const missing = await missingOf(pool, tables)
        await make(pool, url, tables)
        return missing
      } finally {
        await pool.end()
      }
    },
  }
}

async function opened(url: PostgresUrl, tables: Tables, max: number, changed: ConnectionChanged): Promise<Pool> {
  const pool = await reached(url, tables, max, changed)
  try {
    if ((await missingOf(pool, tables)).length > 0) await make(pool, url, tables)
    const unusable = `SELECT name FROM unnest($1::text[]) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_to
      WHERE NOT has_table_privilege(name, right_to)`
    if ((await pool.query(unusable, [tables.names])).rows.length > 0) {
      throw startError(url, tables, `does not let this user use the tables: ${grant(tables)}`)
    }
    return pool
  } catch (error) {
    await pool.end()
    throw error instanceof StartError ? error : startError(url, tables, explain(url, error), error)
  }
}

async function missingOf(pool: Pool, { names }: Tables): Promise<readonly string[]> {
  const sql = `SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL`
  return (await pool.query<{ name: string }>(sql, [names])).rows.map(({ name }) => name)
}

/** A pool whose server answers. */
async function reached(url: PostgresUrl, tables: Tables, max: number, changed?: ConnectionChanged): Promise<Pool> {
  const pool = primaryPool(url.url, max, changed)
  let error: unknown
  for (const _ of oneEach(url.url)) {
    try {
      ;(await pool.connect()).release()
      return pool
    } catch (cause) {
      error = cause
    }
  }
  await pool.end()
  throw startError(url, tables, explain(url, error), error)
}

async function make(pool: Pool, url: PostgresUrl, tables: Tables): Promise<void> {
  try {
    await pool.query(tables.sql)
  } catch (error) {
    const { code, message } = error as Error & { code?: string }
    // Insufficient privilege; no schema to make anything in.
    if (code !== '42501' && code !== '3F000') throw startError(url, tables, explain(url, error), error)
    throw startError(
      url,
      tables,
      `does not let this user make the tables (${message}): run holdfast migrate with the URL of one who may, or what holdfast migrate --print ` +
        `gives, then ${grant(tables)}. Or GRANT CREATE on the schema to this user`,
      error,
    )
  }
}

function grant({ names }: Tables): string {
  return `GRANT SELECT, INSERT, UPDATE, DELETE ON ${names.join(', ')} to this user`
}

function startError({ shown }: PostgresUrl, { setting }: Tables, what: string, cause?: unknown): StartError {
  return new StartError(`${setting}: PostgreSQL at ${shown} ${what}`, cause)
}

function explain({ url }: PostgresUrl, error: unknown): string {
  const { code = 'no answer', message } = error as Error & { code?: string }
  if (error instanceof StandbyError) return 'is only a standby, which takes no writes: name the primary, or both'
  if (code === '28000' && message.includes('pg_hba.conf'))
    return `does not let this user in this way (${message}): change pg_hba.conf; if it wants TLS, say ?sslmode=verify-full`
  // The last is what pg says when the server asks for a password that there is not.
  if (code === '28P01' || code === '28000' || message.includes('client password must be a string'))
    return `does not accept the user name or password of the URL${given(url)}: correct them`
  if (message.includes('server does not support SSL'))
    return 'does not speak TLS, which ?sslmode asks for: turn on ssl there, or take ?sslmode away'
  if (isUntrusted(code))
    return `shows a certificate that is not trusted (${code}): name its CA by ?sslrootcert=<file>, and the host as the certificate has it`
  if (code === 'ENOENT' || code === 'EACCES')
    return `can't be asked: a file that the URL's parameters name can't be read (${message})`
  if (code === '3D000') return 'has no such database: make it, or name another'
  if (code === '42501') return `does not let this user do what is needed (${message})`
  return `can't be reached (${code}): see that it runs, that host and port are right, and that it is PostgreSQL`
}
