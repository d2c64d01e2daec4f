// The contract on MariaDB, and what only it can do wrong.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ConfigError, type Feed, type FeedStep } from 'holdfast'
import { mysqlFeed, mysqlFeedSchema } from 'holdfast/feeds/mysql'
import { testFeed } from 'holdfast/testing'
import { createPool, type Pool } from 'mysql2/promise'
import { startMariadb, type Mariadb } from '../../../scripts/servers/mariadb.ts'

let server: Mariadb
const pools: Pool[] = []
let tables = 0

before(async () => {
  server = await startMariadb()
  for (let i = 0; i < 2; i++) pools.push(createPool({ uri: server.url }))
  // Ten connections at once are slow to make on a machine that is busy.
  for (const pool of pools) {
    const connections = await Promise.all(Array.from({ length: 10 }, () => pool.getConnection()))
    for (const connection of connections) connection.release()
  }
})
after(async () => {
  for (const pool of pools) await pool.end()
  await server.stop()
})

async function make() {
  const table = `feed_${tables++}`
  for (const statement of mysqlFeedSchema(table)) await pools[0]!.query(statement)
  return {
    table,
    feed: mysqlFeed(pools[0]!, { table }),
    another: () => mysqlFeed(pools[1]!, { table }),
    trim: async () => void (await pools[0]!.query(`DELETE FROM ${table}`)),
  }
}

testFeed('mysql', make, { test })

const now = () => performance.now()
const notice = (id: string) => ({ kind: 'ended', ids: [id], reason: 'ended' }) as const
const forever = new AbortController().signal

test('a table that nobody made is no outage: publishing and following say what makes it', async () => {
  const feed = mysqlFeed(pools[0]!, { table: 'forgotten' })
  for (const call of [() => feed.publish(notice('a')), () => stepOf(feed)]) {
    await assert.rejects(call, (error: Error) => {
      assert.ok(error instanceof ConfigError)
      assert.match(error.message, /forgotten.*: run mysqlFeedSchema\(\), or holdfast migrate$/)
      return true
    })
  }
})

/** The first step of a follower. */
async function stepOf(feed: Feed, since?: string): Promise<FeedStep> {
  for await (const step of feed.follow({ since, signal: forever, now })) return step
  return assert.fail('no step')
}

async function rowsIn(table: string): Promise<number> {
  const [rows] = await pools[0]!.query(`SELECT n FROM ${table}`)
  return (rows as object[]).length
}

test('a history that went back is a gap, also when its numbers have caught up', async () => {
  const { feed, table } = await make()
  for (const id of ['a', 'b', 'c']) await feed.publish(notice(id))
  const { cursor } = await stepOf(feed)
  // What a restored backup or a replica that was behind looks like.
  await pools[0]!.query(`DELETE FROM ${table} WHERE n > 1`)
  await pools[0]!.query(`UPDATE ${table}_head SET n = 1, tag = (SELECT tag FROM ${table} WHERE n = 1)`)
  assert.equal((await stepOf(feed, cursor)).gap, true)
  for (const id of ['d', 'e', 'f']) {
    await feed.publish(notice(id))
    const { gap, notices } = await stepOf(feed, cursor)
    assert.deepEqual([gap, notices[0]], [true, notice('a')])
  }
})

test('a cursor goes through a URL as it is', async () => {
  const { feed } = await make()
  for (let i = 0; i < 50; i++) {
    await feed.publish(notice('a'))
    assert.match((await stepOf(feed)).cursor, /^[\w.-]+$/)
  }
})

test('a cursor that is none is a gap', async () => {
  const { feed } = await make()
  await feed.publish(notice('a'))
  for (const cursor of ['nonsense', '', '0.99999999-0', '1e3.x', '-1.', '9'.repeat(200)]) {
    assert.equal((await stepOf(feed, cursor)).gap, true, cursor)
  }
})

test('a publish that fails half way holds nobody up and leaves no hole', async () => {
  const { feed, another, table } = await make()
  await pools[0]!.query(`ALTER TABLE ${table} ADD CONSTRAINT small CHECK (CHAR_LENGTH(notice) < 200)`)
  await feed.publish(notice('a'))
  const { cursor } = await stepOf(feed)
  await assert.rejects(feed.publish(notice('x'.repeat(200))), /small/)
  await another().publish(notice('b'))
  const { gap, notices } = await stepOf(feed, cursor)
  assert.deepEqual([gap, notices], [false, [notice('b')]])
})

test('a publisher that stays away half way is not waited for', async () => {
  const { feed, table } = await make()
  const away = await pools[1]!.getConnection()
  await away.query('START TRANSACTION')
  await away.query(`UPDATE ${table}_head SET n = n + 1`)
  const { cursor } = await stepOf(feed)
  await assert.rejects(feed.publish(notice('a')), /no answer within/)
  await away.query('ROLLBACK')
  away.release()
  await feed.publish(notice('b'))
  const { gap, notices } = await stepOf(feed, cursor)
  assert.deepEqual([gap, notices], [false, [notice('b')]])
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
    await assert.rejects(feed.publish(notice('lost')), /no answer within|ETIMEDOUT/)
  } finally {
    server.resume()
  }
  assert.equal(steps.length, 1)
  await feed.publish(notice('after'))
  const { gap, notices } = await stepOf(feed, steps[0]!.cursor)
  assert.deepEqual([gap, notices.at(-1)], [false, notice('after')])
})

test('a read-only server is neither read nor written, whoever asks', async () => {
  const { feed } = await make()
  await pools[0]!.query('SET GLOBAL read_only = 1')
  try {
    await assert.rejects(stepOf(feed), /read-only.*primary/)
    await assert.rejects(feed.publish(notice('a')), /read-only.*primary/)
  } finally {
    await pools[0]!.query('SET GLOBAL read_only = 0')
  }
  await feed.publish(notice('a'))
})

test('notices go with age', async () => {
  const { table } = await make()
  const feed = mysqlFeed(pools[0]!, { table, retention: '1h' })
  for (let i = 0; i < 25; i++) await feed.publish(notice(`${i}`))
  await pools[0]!.query(`UPDATE ${table} SET at = at - 3660000`)
  await feed.publish(notice('later'))
  assert.equal(await rowsIn(table), 16, 'ten of those that have aged, and no more')
  for (let i = 0; i < 5; i++) await feed.publish(notice('later'))
  assert.equal(await rowsIn(table), 6)
})

test('nobody keeps a connection between two looks', async () => {
  const { table } = await make()
  const pool = createPool({ uri: server.url, connectionLimit: 1 })
  const feed = mysqlFeed(pool, { table, poll: '10ms' })
  const closing = new AbortController()
  const followers = Array.from({ length: 5 }, () =>
    feed.follow({ signal: closing.signal, now })[Symbol.asyncIterator](),
  )
  for (let i = 0; i < 3; i++) {
    await feed.publish(notice(`${i}`))
    await Promise.all(followers.map((follower) => follower.next()))
  }
  closing.abort()
  await pool.end()
})

test('what can not work says why', async () => {
  const pool = pools[0]!
  for (const table of ['a"b', 'a`b', 'a b', 'a.b.c', '', 'A', 'x'.repeat(60)]) {
    assert.throws(() => mysqlFeed(pool, { table }), /table: expected a name/, table)
    assert.throws(() => mysqlFeedSchema(table), /table: expected a name/, table)
  }
  assert.throws(() => mysqlFeed(pool, { retention: '0s' }), /retention: expected a positive duration/)
  assert.throws(() => mysqlFeed(pool, { poll: '250ms' }), /poll: expected 200ms at most, got '250ms'/)
  await assert.rejects(stepOf(mysqlFeed(pool, { table: 'nowhere' })), /nowhere_head/)
  const { table, feed } = await make()
  await pool.query(`DELETE FROM ${table}_head`)
  await assert.rejects(stepOf(feed), /run what mysqlFeedSchema\(\) gives/)
  await assert.rejects(feed.publish(notice('a')), /run what mysqlFeedSchema\(\) gives/)
})

test('the tables can be made by many at once, and again', async () => {
  const make = async (i: number) => {
    for (const statement of mysqlFeedSchema('holdfast.many')) await pools[i % 2]!.query(statement)
  }
  await Promise.all(Array.from({ length: 10 }, (_, i) => make(i)))
  const feed = mysqlFeed(pools[0]!, { table: 'holdfast.many' })
  await feed.publish(notice('a'))
  await make(1)
  assert.deepEqual((await stepOf(feed)).notices, [notice('a')])
})
