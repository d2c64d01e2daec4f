// The feed on Redis when servers die, stand still, lose what they had, or are replaced.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { redisFeed } from 'holdfast/feeds/redis'
import { createClient, createSentinel } from 'redis'
import { startRedis, startRedisSentinel } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { connected, endings, redis } from '../redis-fixtures.ts'
import { notice, now, publishSurely, reader } from './fixtures.ts'

function clientOf({ url }: { url: string }) {
  return connected(createClient({ url, disableOfflineQueue: true, socket: { reconnectStrategy: 20 } }))
}

/** A primary with a replica that reports to it. */
async function pair() {
  const primary = await redis()
  const replica = await redis({ replicaof: `127.0.0.1 ${primary.port}` })
  const client = await clientOf(primary)
  await client.publish('any', '')
  while ((await client.wait(1, 5_000)) < 1);
  return { primary, replica, client }
}

describe('a log that is lost', () => {
  const lost: Record<string, (server: Server, client: Awaited<ReturnType<typeof clientOf>>) => Promise<unknown>> = {
    'by FLUSHALL': (_, client) => client.flushAll(),
    'by DEL, with newer entries after it': async (_, client) => {
      await client.del('hf:feed')
      await redisFeed(client).publish(notice('newer'))
    },
    'to a history that another server wrote': (_, client) => client.sendCommand(['DEBUG', 'CHANGE-REPL-ID']),
    'in a restart': async ({ port, kill }) => {
      await kill()
      const again = await startRedis({ port })
      endings.push(again.stop)
    },
  }
  for (const [how, lose] of Object.entries(lost)) {
    test(`${how} is a gap, and what comes after it is read`, async () => {
      const server = await redis({ 'enable-debug-command': 'yes' })
      const client = await clientOf(server)
      const feed = redisFeed(client)
      await feed.publish(notice('before'))
      const { steps, ids, until, close } = reader(feed)
      await until('the first notice', () => ids().includes('before'))
      assert.ok(steps.every(({ gap }) => !gap))
      await lose(server, client)
      await until('a gap', () => steps.some(({ gap }) => gap))
      await publishSurely(feed, 'after')
      await until('the notice after it', () => ids().includes('after'))
      assert.equal(steps.filter(({ gap }) => gap).length, 1)
      await close()
    })
  }
})

test('when the primary under Sentinel is killed, its successor is followed, after a gap', async () => {
  const { name, master, sentinels, sentinelRootNodes, stop } = await startRedisSentinel()
  endings.push(stop)
  const watch = await clientOf(sentinels[0]!)
  await watch.sendCommand(['SENTINEL', 'SET', name, 'down-after-milliseconds', '300'])
  const client = createSentinel({
    name,
    sentinelRootNodes: [...sentinelRootNodes],
    nodeClientOptions: { disableOfflineQueue: true },
  })
  await connected(client)
  const feed = redisFeed(client)
  await feed.publish(notice('before'))
  const { steps, failures, ids, until, close } = reader(feed)
  await until('the first notice', () => ids().includes('before'))

  await master.kill()
  await until('a failure', () => failures.length > 0)
  await until('a gap', () => steps.some(({ gap }) => gap))
  await publishSurely(feed, 'after')
  await until('the notice after it', () => ids().includes('after'))
  await close()
})

/** Follows a primary that stood still while its replica was promoted, and a notice published there: what it says as of later. */
async function afterStandstill(durability: { replicas: number } | undefined) {
  const { primary, replica, client } = await pair()
  const { steps, failures, until, close } = reader(redisFeed(client, { durability }))
  await until('a step', () => steps.length > 0)

  primary.pause()
  const promoted = await clientOf(replica)
  await promoted.sendCommand(['REPLICAOF', 'NO', 'ONE'])
  await redisFeed(promoted).publish(notice('missed'))
  const publishedAt = now()
  // An answer that was on its way is as of before.
  await until('a failure', () => failures.length > 0)
  primary.resume()
  return { failures, fresh: () => steps.filter(({ asOf }) => asOf > publishedAt), until, close }
}

test('a primary that stood still while its replica was promoted gives no fresh step when replicas confirm', async () => {
  const { failures, fresh, until, close } = await afterStandstill({ replicas: 1 })
  const before = failures.length
  await until('three more tries', () => failures.length >= before + 3 || fresh().length > 0)
  await close()
  assert.deepEqual(fresh(), [])
})

test('without durability it does, as the docs say', async () => {
  const { fresh, until, close } = await afterStandstill(undefined)
  await until('a fresh step', () => fresh().length > 0)
  await close()
})

test('what replicas confirmed before a read confirms nothing', async () => {
  const { replica, client } = await pair()
  const { steps, failures, until, close } = reader(redisFeed(client, { durability: { replicas: 1 } }))
  // A replica reports by itself once a second; after that there is nothing that it has not confirmed.
  await until('two seconds of steps', () => steps.length > 0 && steps.at(-1)!.asOf > steps[0]!.asOf + 2_000)
  replica.pause()
  const pausedAt = now()
  await until('a failure', () => failures.some((error) => /0 of 1 replicas confirmed/.test(String(error))))
  assert.deepEqual(
    steps.filter(({ asOf }) => asOf > pausedAt),
    [],
  )
  replica.resume()
  await until('a fresh step', () => steps.at(-1)!.asOf > pausedAt)
  assert.ok(steps.every(({ gap }) => !gap))
  await close()
})

test('a notice that no replica confirms is not published', async () => {
  const { primary, replica, client } = await pair()
  const feed = redisFeed(client, { durability: { replicas: 1, timeout: '500ms' } })
  await feed.publish(notice('a'))
  replica.pause()
  await assert.rejects(feed.publish(notice('b')), /0 of 1 replicas confirmed within 500 ms/)
  replica.resume()
  await publishSurely(feed, 'c')
  const { ids, until, close } = reader(redisFeed(await clientOf(primary)))
  await until('the last notice', () => ids().includes('c'))
  await close()
})

test('a server that stands still makes following reject, and then it goes on without a gap', async () => {
  const server = await redis()
  const feed = redisFeed(await clientOf(server))
  const { steps, failures, ids, until, close } = reader(feed)
  await until('a step', () => steps.length > 0)
  server.pause()
  const pausedAt = now()
  await until('a failure', () => failures.length > 0)
  assert.ok(steps.at(-1)!.asOf <= pausedAt, 'a step while the server stood still')
  server.resume()
  await publishSurely(feed, 'after')
  await until('the notice', () => ids().includes('after'))
  assert.ok(steps.every(({ gap }) => !gap))
  await close()
})

test('a replica is not followed', async () => {
  const { replica } = await pair()
  const { steps, failures, until, close } = reader(redisFeed(await clientOf(replica)))
  await until('a failure', () => failures.length > 0)
  assert.match(String(failures[0]), /replica/)
  assert.deepEqual(steps, [])
  await close()
})

test('whoever is done leaves no connection, and no command made a timer', async (t) => {
  const server = await redis()
  const client = await clientOf(server)
  const timers = t.mock.method(AbortSignal, 'timeout')
  const feed = redisFeed(client)
  const connections = async () =>
    String(await client.sendCommand(['CLIENT', 'LIST']))
      .trim()
      .split('\n').length
  timers.mock.resetCalls()
  await feed.publish(notice('a'))
  const { steps, until, close } = reader(feed)
  await until('two steps', () => steps.length >= 2)
  assert.equal(timers.mock.callCount(), 0)
  assert.equal(await connections(), 2)
  await close()
  while ((await connections()) > 1) await new Promise((resolve) => setImmediate(resolve))
})

test('a reader that is far behind gets slices, and only the last is as of now', async () => {
  const client = await clientOf(await redis())
  const feed = redisFeed(client)
  await Promise.all(Array.from({ length: 2_500 }, (_, i) => feed.publish(notice(`${i}`))))
  const { steps, until, close } = reader(feed)
  await until('a complete step', () => steps.some(({ asOf }) => asOf !== -Infinity))
  const first = steps.findIndex(({ asOf }) => asOf !== -Infinity)
  assert.deepEqual(
    steps.slice(0, first + 1).map(({ notices }) => notices.length),
    [1_000, 1_000, 500],
  )
  assert.ok(steps.every(({ gap }) => !gap))
  await close()
})

test('notices go with age', async () => {
  const client = await clientOf(await redis())
  const lasting = redisFeed(client)
  await Promise.all(Array.from({ length: 500 }, (_, i) => lasting.publish(notice(`${i}`))))
  assert.equal(await client.xLen('hf:feed'), 500)
  const feed = redisFeed(client, { retention: '1s' })
  for (const until = now() + 10_000; (await client.xLen('hf:feed')) > 250;) {
    assert.ok(now() < until, 'nothing was trimmed')
    // Age can't be waited for but in real time.
    await new Promise((resolve) => setTimeout(resolve, 100))
    await feed.publish(notice('later'))
  }
})
