// A feed in PostgreSQL, for those who have one and would rather not let Redis be the judge of what ended.
import { Pool } from 'pg'
import { postgresFeed, postgresFeedSchema } from 'holdfast/feeds/postgres'
import { StartError } from '../start-error.ts'
import type { ConnectionChanged, OpenFeed } from './engine.ts'
import type { FeedUrl } from './feed-url.ts'

type PostgresUrl = Extract<FeedUrl, { kind: 'postgres' }>

const connectTimeoutMs = 2_000

/** Makes its table when it is missing. */
export async function openPostgresFeed({ url, shown }: PostgresUrl, changed: ConnectionChanged): Promise<OpenFeed> {
  // One listens, the others publish.
  const pool = new Pool({ connectionString: url, connectionTimeoutMillis: connectTimeoutMs, max: 4, keepAlive: true })
  let up = true
  const onlyChanges: ConnectionChanged = (cause) => {
    if (up !== (cause === null)) changed(cause)
    up = cause === null
  }
  // A pooled connection that breaks is replaced when the next one is wanted.
  pool.on('error', onlyChanges).on('connect', () => onlyChanges(null))
  try {
    await pool.query(postgresFeedSchema())
  } catch (error) {
    await pool.end()
    throw new StartError(`HOLDFAST_FEED: ${explain(shown, error)}`, error)
  }
  return { feed: postgresFeed(pool), close: () => pool.end() }
}

function explain(shown: string, error: unknown): string {
  const { code = 'no answer', message } = error as Error & { code?: string }
  if (code === '28P01' || code === '28000')
    return `PostgreSQL at ${shown} does not accept the user name or password of the URL: correct them`
  if (code === '3D000') return `PostgreSQL at ${shown} has no such database: make it, or name another`
  if (code === '42501')
    return `the PostgreSQL user at ${shown} may not make the table holdfast_feed (${message}): grant CREATE on the schema`
  return `PostgreSQL at ${shown} can't be reached (${code}): see that it runs and that host and port are right`
}
