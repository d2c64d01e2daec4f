// What `holdfast migrate` does for an engine whose tables somebody may want to make by hand.
import type { FeedUrl } from './feed-url.ts'
import type { StoreUrl } from './store-url.ts'

export interface Migration {
  /** Makes what is missing and leaves what is there; safe to run again. A DBA may run it instead of `apply`. */
  readonly sql: string
  /** Runs it, and answers which tables were missing. Rejects with `StartError` that says which right is missing. */
  apply(): Promise<readonly string[]>
}

/** `null` for an engine that needs none. Nothing is opened yet. */
export async function storeMigration(url: StoreUrl): Promise<Migration | null> {
  switch (url.kind) {
    case 'postgres':
      return (await import('./postgres.ts')).postgresMigration(url)
    case 'mysql':
      return (await import('./mysql.ts')).mysqlMigration(url)
    default:
      return null
  }
}

/** The same where the engine carries the feed alone. */
export async function feedMigration(url: FeedUrl): Promise<Migration | null> {
  switch (url.kind) {
    case 'postgres':
      return (await import('./postgres.ts')).postgresFeedMigration(url)
    case 'mysql':
      return (await import('./mysql.ts')).mysqlFeedMigration(url)
    default:
      return null
  }
}
