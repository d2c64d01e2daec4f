// The contract on MariaDB, and what only it can do wrong.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { mysqlFeed, mysqlFeedSchema } from 'holdfast/feeds/mysql'
import { testFeed } from 'holdfast/testing'
import { createPool, type Pool } from 'mysql2/promise'
import { startMariadb, type Mariadb } from '../../../scripts/servers/mariadb.ts'
import { notice, now, stepOf } from './fixtures.ts'
import { testTables } from './tables.ts'

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

testTables({
  factory: 'mysqlFeed',
  server: () => server,
  query: (statement, client = 0) => pools[client]!.query(statement),
  feed: (o) => mysqlFeed(pools[0]!, o),
  schema: mysqlFeedSchema,
  make,
  home: 'holdfast',
})

async function rowsIn(table: string): Promise<number> {
  const [rows] = await pools[0]!.query(`SELECT n FROM ${table}`)
  return (rows as object[]).length
}

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

test('a follower that would look too seldom is refused', () => {
  assert.throws(() => mysqlFeed(pools[0]!, { poll: '250ms' }), /poll: expected 200ms at most, got '250ms'/)
})
