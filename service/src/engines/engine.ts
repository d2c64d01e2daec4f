// An engine: the stores that a URL names, opened, and what the service asks of it beside them.
import type { Feed, ScannableStore } from 'holdfast'
import { StartError } from '../start-error.ts'
import { feedMissing, type FeedUrl } from './feed-url.ts'
import type { StoreUrl } from './store-url.ts'

/** One thing an operator should know. `ok: false` wants something done; `advice` says what. */
export interface Finding {
  readonly what: string
  readonly ok: boolean
  readonly found: string
  readonly advice: string | null
}

export interface Engine {
  readonly sessions: ScannableStore
  /** A place of its own for the clients, the keys and the format mark, on the same engine. */
  readonly clients: ScannableStore
  /** On the same engine, so that it reaches every process that uses the stores; `null` where the engine can't carry one. */
  readonly feed: Feed | null
  /**
   * What an operator should know of the engine itself; `'at-start'`, only what takes no longer the more it holds, and blocks nobody. Rejects when
   * it can't be asked.
   */
  inspect(when?: 'at-start'): Promise<readonly Finding[]>
  /** Ends connections and files. Nothing may be asked afterwards. */
  close(): Promise<void>
}

/** Hears of the connection being lost (with the cause) and coming back (`null`), once for each change. */
export type ConnectionChanged = (cause: Error | null) => void

/** Resolves when the engine answers; `StartError` when it does not. */
export async function openEngine(url: StoreUrl, changed: ConnectionChanged = () => {}): Promise<Engine> {
  // Only the engine in use is loaded.
  switch (url.kind) {
    case 'memory':
      return (await import('./memory.ts')).memoryEngine()
    case 'sqlite':
      return (await import('./sqlite.ts')).sqliteEngine(url.path)
    case 'postgres':
      return (await import('./postgres.ts')).postgresEngine(url, changed)
    case 'mysql':
      return (await import('./mysql.ts')).mysqlEngine(url, changed)
    case 'nats':
      return (await import('./nats.ts')).natsEngine(url, changed)
    case 'mongodb':
      return (await import('./mongodb.ts')).mongodbEngine(url, changed)
    case 'dynamodb':
      return (await import('./dynamodb.ts')).dynamodbEngine(url)
    default:
      return (await import('./redis.ts')).redisEngine(url, changed)
  }
}

export interface OpenFeed {
  readonly feed: Feed
  close(): Promise<void>
}

/** The feed that a URL names, or (`null`) that of the engine. Resolves when it answers; `StartError` when it does not. */
export async function openFeed(
  url: FeedUrl | null,
  engine: Engine,
  changed: ConnectionChanged = () => {},
): Promise<OpenFeed> {
  // In memory it is only where the engine is too.
  if (url === null || url.kind === 'memory') {
    if (engine.feed !== null) return { feed: engine.feed, close: async () => {} }
    throw new StartError(feedMissing)
  }
  switch (url.kind) {
    case 'postgres':
      return (await import('./postgres.ts')).openPostgresFeed(url, changed)
    case 'mysql':
      return (await import('./mysql.ts')).openMysqlFeed(url, changed)
    case 'nats':
      return (await import('./nats.ts')).openNatsFeed(url, changed)
    default:
      return (await import('./redis.ts')).openRedisFeed(url, changed)
  }
}
