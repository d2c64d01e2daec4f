// What a feed in tables owes beside the contract, the same in each database.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError, type Duration, type Feed, type FeedStep } from 'holdfast'
import type { Server } from '../../../scripts/servers/server.ts'
import { forever, notice, now, stepOf } from './fixtures.ts'

export interface Database {
  /** What errors call the feed. */
  readonly factory: 'mysqlFeed' | 'postgresFeed'
  server(): Server
  /** By one of two clients. */
  query(statement: string, client?: 0 | 1): Promise<unknown>
  feed(o: { table: string; retention?: Duration }): Feed
  schema(table: string): readonly string[]
  /** A feed in tables of its own. */
  make(): Promise<{ table: string; feed: Feed }>
  /** Where tables are made that are not told where. */
  readonly home: string
}

export function testTables({ factory, server, query, feed: feedOn, schema, make, home }: Database): void {
  test('a table that nobody made is no outage: publishing and following say what makes it', async () => {
    const feed = feedOn({ table: 'forgotten' })
    for (const call of [() => feed.publish(notice('a')), () => stepOf(feed)]) {
      await assert.rejects(call, (error: Error) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, new RegExp(`forgotten.*: run ${factory}Schema\\(\\), or holdfast migrate$`))
        return true
      })
    }
  })

  test('a history that went back is a gap, also when its numbers have caught up', async () => {
    const { feed, table } = await make()
    for (const id of ['a', 'b', 'c']) await feed.publish(notice(id))
    const { cursor } = await stepOf(feed)
    // What a restored backup or a replica that was behind looks like.
    await query(`DELETE FROM ${table} WHERE n > 1`)
    await query(`UPDATE ${table}_head SET n = 1, tag = (SELECT tag FROM ${table} WHERE n = 1)`)
    assert.equal((await stepOf(feed, cursor)).gap, true)
    for (const id of ['d', 'e', 'f']) {
      await feed.publish(notice(id))
      const { gap, notices } = await stepOf(feed, cursor)
      assert.deepEqual([gap, notices[0]], [true, notice('a')])
    }
  })

  test('a server that stands still makes following and publishing reject, and then it goes on without a gap', async () => {
    const { feed } = await make()
    const steps: FeedStep[] = []
    const follow = async () => {
      for await (const step of feed.follow({ signal: forever, now })) {
        steps.push(step)
        server().pause()
      }
    }
    try {
      await assert.rejects(follow(), /no answer within/)
      await assert.rejects(feed.publish(notice('lost')), /no answer within|ETIMEDOUT/)
    } finally {
      server().resume()
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

  test('a cursor that is none is a gap', async () => {
    const { feed } = await make()
    await feed.publish(notice('a'))
    for (const cursor of ['nonsense', '', '0.99999999-0', '1e3.x', '-1.', '9'.repeat(200)]) {
      assert.equal((await stepOf(feed, cursor)).gap, true, cursor)
    }
  })

  test('what can not work says why', async () => {
    for (const table of ['a"b', 'a`b', 'a b', 'a.b.c', '', 'A', 'x'.repeat(60)]) {
      assert.throws(() => feedOn({ table }), /table: expected a name/, table)
      assert.throws(() => schema(table), /table: expected a name/, table)
    }
    assert.throws(() => feedOn({ table: 'any', retention: '0s' }), /retention: expected a positive duration/)
    const { table, feed } = await make()
    await query(`DELETE FROM ${table}_head`)
    const advice = new RegExp(`run what ${factory}Schema\\(\\) gives`)
    await assert.rejects(stepOf(feed), advice)
    await assert.rejects(feed.publish(notice('a')), advice)
  })

  test('the tables can be made by many at once, and again', async () => {
    const table = `${home}.many`
    const makeBy = async (client: 0 | 1) => {
      for (const statement of schema(table)) await query(statement, client)
    }
    await Promise.all(Array.from({ length: 10 }, (_, i) => makeBy(i % 2 === 0 ? 0 : 1)))
    const feed = feedOn({ table })
    await feed.publish(notice('a'))
    await makeBy(1)
    assert.deepEqual((await stepOf(feed)).notices, [notice('a')])
  })
}
