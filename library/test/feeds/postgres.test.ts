// The contract on PostgreSQL, and what only it can do wrong.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ConfigError, type Feed, type FeedStep } from 'holdfast'
import { postgresFeed, postgresFeedSchema } from 'holdfast/feeds/postgres'
import { testFeed } from 'holdfast/testing'
import { Pool } from 'pg'
import { startPostgres } from '../../../scripts/servers/postgres.ts'
import type { Server } from '../../../scripts/servers/server.ts'

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

const now = () => performance.now()
const notice = (id: string) => ({ kind: 'ended', ids: [id], reason: 'ended' }) as const
const forever = new AbortController().signal

test('a table that nobody made is no outage: publishing and following say what makes it', async () => {
  const feed = postgresFeed(pools[0]!, { table: 'forgotten' })
  for (const call of [() => feed.publish(notice('a')), () => stepOf(feed)]) {
    await assert.rejects(call, (error: Error) => {
      assert.ok(error instanceof ConfigError)
      assert.match(error.message, /"forgotten.*: run postgresFeedSchema\(\), or holdfast migrate$/)
      return true
    })
  }
})

/** The first step of a follower. */
async function stepOf(feed: Feed, since?: string): Promise<FeedStep> {
  for await (const step of feed.follow({ since, signal: forever, now })) return step
  return assert.fail('no step')
}

test('a history that went back is a gap, also when its numbers have caught up', async () => {
  const { feed, table } = await make()
  for (const id of ['a', 'b', 'c']) await feed.publish(notice(id))
  const { cursor } = await stepOf(feed)
  // What a restored backup or a standby that was behind looks like.
  await pools[0]!.query(`DELETE FROM ${table} WHERE n > 1`)
  await pools[0]!.query(`UPDATE ${table}_head SET n = 1, tag = (SELECT tag FROM ${table} WHERE n = 1)`)
  assert.equal((await stepOf(feed, cursor)).gap, true)
  for (const id of ['d', 'e', 'f']) {
    await feed.publish(notice(id))
    const { gap, notices } = await stepOf(feed, cursor)
    assert.deepEqual([gap, notices[0]], [true, notice('a')])
  }
})

test('a commit that no synchronous standby has, since the wait was called off, is not published', async () => {
  const { feed } = await make()
  const [pool] = pools as [Pool, Pool]
  const waiting = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`
  await pool.query(`ALTER SYSTEM SET synchronous_standby_names = 'nobody'`)
  await pool.query('SELECT pg_reload_conf()')
  try {
    const cancelled = (async () => {
      while ((await pools[1]!.query(waiting)).rowCount === 0);
    })()
    // The server takes note of the setting when it comes to it.
    const publishing = (async () => {
      for (let i = 0; i < 10_000; i++) await feed.publish(notice(`${i}`))
    })()
    await Promise.all([cancelled, assert.rejects(publishing, /committed with a warning/)])
  } finally {
    await pool.query('ALTER SYSTEM RESET synchronous_standby_names')
    await pool.query('SELECT pg_reload_conf()')
  }
})

test('a server that stands still makes following and publishing reject, and then it goes on without a gap', async () => {
  const { feed } = await make()
  const steps: FeedStep[] = []
  const follow = async () => {
    for await (const step of feed.follow({ signal: forever, now })) {
      steps.push(step)
      server.pause()
    }
  }
  try {
    await assert.rejects(follow(), /no answer within/)
    await assert.rejects(feed.publish(notice('lost')), /no answer within/)
  } finally {
    server.resume()
  }
  assert.equal(steps.length, 1)
  await feed.publish(notice('after'))
  const { gap, notices } = await stepOf(feed, steps[0]!.cursor)
  assert.deepEqual([gap, notices.at(-1)], [false, notice('after')])
})

test('a cursor stands in a URL as it is', async () => {
  const { feed } = await make()
  for (let i = 0; i < 20; i++) {
    await feed.publish(notice(`${i}`))
    const { cursor } = await stepOf(feed)
    assert.equal(new URL(`http://h/?since=${cursor}`).searchParams.get('since'), cursor)
  }
})

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

test('what can not work says why', async () => {
  const pool = pools[0]!
  for (const table of ['a"b', 'a b', 'a.b.c', '', 'A', 'x'.repeat(51)]) {
    assert.throws(() => postgresFeed(pool, { table }), /table: expected a name/, table)
    assert.throws(() => postgresFeedSchema(table), /table: expected a name/, table)
  }
  assert.throws(() => postgresFeed(pool, { retention: '0s' }), /retention: expected a positive duration/)
  await assert.rejects(stepOf(postgresFeed(pool, { table: 'nowhere' })), /nowhere_head/)
  const { table, feed } = await make()
  await pool.query(`DELETE FROM ${table}_head`)
  await assert.rejects(stepOf(feed), /run what postgresFeedSchema\(\) gives/)
  await assert.rejects(feed.publish(notice('a')), /run what postgresFeedSchema\(\) gives/)
})

test('the tables can be made by many at once, and again', async () => {
  await Promise.all(Array.from({ length: 10 }, (_, i) => pools[i % 2]!.query(postgresFeedSchema('public.many'))))
  const feed = postgresFeed(pools[0]!, { table: 'public.many' })
  await feed.publish(notice('a'))
  await pools[1]!.query(postgresFeedSchema('public.many'))
  assert.deepEqual((await stepOf(feed)).notices, [notice('a')])
})
