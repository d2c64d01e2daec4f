// The contract on PostgreSQL, and what only it can do wrong.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { postgresFeed, postgresFeedSchema } from 'holdfast/feeds/postgres'
import { testFeed } from 'holdfast/testing'
import { Pool } from 'pg'
import { startPostgres } from '../../../scripts/servers/postgres.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { notice, now, stepOf } from './fixtures.ts'
import { testTables } from './tables.ts'

let server: Server
const pools: Pool[] = []
let tables = 0

before(async () => {
  server = await startPostgres()
  for (let i = 0; i < 2; i++) {
    const pool = new Pool({ connectionString: server.url, max: 12 })
    pool.on('error', () => {})
    pools.push(pool)
  }
})
after(async () => {
  for (const pool of pools) await pool.end()
  await server.stop()
})

async function make() {
  const table = `feed_${tables++}`
  await pools[0]!.query(postgresFeedSchema(table))
  return {
    table,
    feed: postgresFeed(pools[0]!, { table }),
    another: () => postgresFeed(pools[1]!, { table }),
    trim: async () => void (await pools[0]!.query(`DELETE FROM ${table}`)),
  }
}

testFeed('postgres', make, { test })

testTables({
  factory: 'postgresFeed',
  server: () => server,
  query: (statement, client = 0) => pools[client]!.query(statement),
  feed: (o) => postgresFeed(pools[0]!, o),
  schema: (table) => [postgresFeedSchema(table)],
  make,
  home: 'public',
})

test('a commit that no synchronous standby has, since the wait was called off, is not published', async () => {
  const { feed } = await make()
  const [pool] = pools as [Pool, Pool]
  const waiting = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`
  await pool.query(`ALTER SYSTEM SET synchronous_standby_names = 'nobody'`)
  await pool.query('SELECT pg_reload_conf()')
  const over = new AbortController()
  try {
    const cancelling = (async () => {
      while (!over.signal.aborted) await pools[1]!.query(waiting)
    })()
    // The server takes note of the setting when it comes to it.
    const publishing = (async () => {
      for (let i = 0; i < 10_000; i++) await feed.publish(notice(`${i}`)).catch(unlessSlow)
    })()
    await assert.rejects(publishing, /committed with a warning/)
    over.abort()
    await cancelling
  } finally {
    over.abort()
    await pool.query('ALTER SYSTEM RESET synchronous_standby_names')
    await pool.query('SELECT pg_reload_conf()')
  }
})

function unlessSlow(error: Error): void {
  if (!/no answer within/.test(error.message)) throw error
}

test('notices go with age', async () => {
  const { table } = await make()
  const feed = postgresFeed(pools[0]!, { table, retention: '1h' })
  for (let i = 0; i < 25; i++) await feed.publish(notice(`${i}`))
  await pools[0]!.query(`UPDATE ${table} SET at = at - interval '61 minutes'`)
  for (let i = 0; i < 3; i++) await feed.publish(notice('later'))
  assert.equal((await pools[0]!.query(`SELECT n FROM ${table}`)).rowCount, 3)
})

test('whoever is done leaves no connection', async () => {
  const { table } = await make()
  const pool = new Pool({ connectionString: server.url })
  const feed = postgresFeed(pool, { table })
  const closing = new AbortController()
  const idle = feed.follow({ signal: closing.signal, now })[Symbol.asyncIterator]()
  await idle.next()
  await stepOf(feed)
  assert.equal(pool.totalCount, 1)
  closing.abort()
  assert.equal(pool.totalCount, 0)
  await pool.end()
})
