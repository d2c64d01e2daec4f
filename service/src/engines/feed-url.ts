// HOLDFAST_FEED: the log by which replicas hear of endings, where it is not that of the store. Nothing here opens a connection.
import { parseStoreUrl, type StoreUrl } from './store-url.ts'

/** `shown` is for people and logs: without user name and password. */
export type FeedUrl =
  | Extract<StoreUrl, { kind: 'memory' | `redis${string}` }>
  | { readonly kind: 'postgres'; readonly url: string; readonly shown: string }

const feedForms =
  'memory:, redis://<host>:<port>, rediss://<host>:<port>, redis+cluster://…, redis+sentinel://…, ' +
  'or postgres://<user>@<host>:<port>/<database>'

/** Throws an `Error` that says what is wrong, and never repeats the text, which may hold a password. */
export function parseFeedUrl(text: string): FeedUrl {
  if (/^postgres(ql)?:/.test(text)) return parsePostgres(text)
  if (!/^(memory|rediss?(\+(cluster|sentinel))?):/.test(text)) throw new Error(`expected ${feedForms}`)
  return parseStoreUrl(text) as FeedUrl
}

function parsePostgres(text: string): FeedUrl {
  const expected = 'expected postgres://<user>:<password>@<host>:<port>/<database>'
  if (!URL.canParse(text)) throw new Error(`${expected}; encode special characters in the password`)
  const url = new URL(text)
  if (url.hostname === '' || !/^\/[^/]+$/.test(url.pathname)) throw new Error(expected)
  return { kind: 'postgres', url: text, shown: `${url.protocol}//${url.host}${url.pathname}` }
}
