// HOLDFAST_FEED: the log by which replicas hear of endings, where it is not that of the store. Nothing here opens a connection.
import { meant, parseStoreUrl, type StoreUrl } from './store-url.ts'

/** `shown` is for people and logs: without user name and password. */
export type FeedUrl = Extract<StoreUrl, { kind: 'memory' | `redis${string}` | 'postgres' | 'mysql' | 'nats' }>

export const feedMissing =
  'HOLDFAST_FEED: this store has no feed of its own, by which replicas hear of endings: name one, such as redis://… or nats://…'

const feedForms =
  'memory:, redis://<host>:<port>, rediss://<host>:<port>, redis+cluster://…, redis+sentinel://…, ' +
  'postgres://<user>@<host>:<port>/<database>, mysql://<user>@<host>:<port>/<database> or nats://<host>:<port>'

/** Throws an `Error` that says what is wrong, and never repeats the text, which may hold a password. */
export function parseFeedUrl(text: string): FeedUrl {
  if (!/^(memory|rediss?(\+(cluster|sentinel))?|postgres(ql)?|mysql|mariadb|nats):/.test(text)) {
    throw new Error(`${meant(/^([a-z+]+):/.exec(text)?.[1])}expected ${feedForms}`)
  }
  return parseStoreUrl(text) as FeedUrl
}
