// A Cluster whose primary goes silent with its connections open, or is missing: nothing tells the client that another took its place.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { createCluster } from 'redis'
import { startRedisCluster, type RedisCluster } from '../../../scripts/servers/redis.ts'
import { lookAnew } from '../../src/internal/redis-topology.ts'
import { record } from '../fixtures.ts'

let group: RedisCluster
const clients: { destroy(): void }[] = []
before(async () => {
  group = await startRedisCluster({ replicas: 1 })
})
after(async () => {
  for (const client of clients) {
    // One that is closed while it asks for the topology connects to what it learns, and keeps the process alive (node-redis 6.3.1).
    await slotsOf(client)
      .rediscover()
      .catch(() => {})
    client.destroy()
  }
  await group.stop()
})

async function connect() {
  const client = createCluster({
    rootNodes: group.nodes.map(({ url }) => ({ url })),
    defaults: { disableOfflineQueue: true, socket: { connectTimeout: 500, socketTimeout: 1_000 } },
    topologyRefreshOnReconnectionAttemptStrategy: 200,
  })
  await client.on('error', () => {}).connect()
  clients.push(client)
  return client
}

function slotsOf(client: object): { slots: unknown[]; rediscover(): Promise<unknown> } {
  // oxlint-disable-next-line eslint/no-underscore-dangle -- what node-redis calls it
  return (client as { _slots: ReturnType<typeof slotsOf> })._slots
}

/** Calls as `createSessions` does: with a signal, for half a second, and again. Fails when none of them is answered. */
async function answered<T>(call: (signal: AbortSignal) => Promise<T>, given?: AbortSignal): Promise<T> {
  for (const until = performance.now() + 20_000; performance.now() < until;) {
    const signal = given ?? AbortSignal.timeout(500)
    const givenUp = new Promise<never>((_, reject) =>
      signal.addEventListener('abort', () => reject(new Error('no answer'))),
    )
    try {
      return await Promise.race([call(signal), givenUp])
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  return assert.fail('the client did not find the new primary')
}

test('the store and the feed find the primary that took the place of a silent one', async () => {
  const [ofStore, ofFeed, ofFollower] = [await connect(), await connect(), await connect()]
  const tag = '{one-shard}'
  const store = redisStore(ofStore, { prefix: tag })
  const o = { key: `${tag}feed` }
  const kept = record({ expiresAt: Date.now() + 60_000 })
  await store.put(kept, null)
  const { options } = await ofStore.getNodeClientForKey(o.key)
  const primary = group.nodes.find(({ port }) => port === (options.socket as { port: number }).port)!
  await ofStore.sendCommand(o.key, false, ['WAIT', '1', '0'])

  primary.pause()
  assert.deepEqual(await answered((signal) => store.get(kept.id, { signal })), kept)
  await answered((signal) => redisFeed(ofFeed, o).publish({ kind: 'keys' }, { signal }))
  const following = await answered(async (signal) => {
    for await (const { notices } of redisFeed(ofFollower, o).follow({ signal, now: () => performance.now() })) {
      if (notices.length > 0) return notices
    }
    throw new Error('no notice')
  })
  assert.deepEqual(following, [{ kind: 'keys' }])
  primary.resume()
})

test('the store and the feed find a primary of which the client learned nothing', async () => {
  const client = await connect()
  // Each call is answered at once, so no deadline runs out.
  const never = new AbortController().signal
  const kept = record({ expiresAt: Date.now() + 60_000 })
  const store = redisStore(client)
  await store.put(kept, null)
  // It takes a topology as it is while a primary is missing, and asks nobody again.
  const known = slotsOf(client)
  known.slots.fill(undefined)
  await assert.rejects(store.get(kept.id), TypeError)
  assert.deepEqual(await answered(() => store.get(kept.id), never), kept)
  known.slots.fill(undefined)
  await assert.rejects(redisFeed(client).publish({ kind: 'keys' }), TypeError)
  await answered(() => redisFeed(client).publish({ kind: 'keys' }), never)
})

test('a client that is closed while it looks for the topology stays closed', async () => {
  const client = await connect()
  lookAnew(client)
  client.destroy()
  await slotsOf(client)
    .rediscover()
    .catch(() => {})
  await new Promise(setImmediate)
  assert.deepEqual([client.isOpen, client.masters], [false, []])
})
