// The contract on Redis: one server, a pool, Sentinel, Cluster; alone and with replicas that have to confirm.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redisFeed, type RedisFeedClient, type RedisFeedOptions } from 'holdfast/feeds/redis'
import { testFeed } from 'holdfast/testing'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { startRedis, startRedisCluster, startRedisSentinel } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { onRedis, type Client, type Engine } from '../redis-fixtures.ts'

const serverOptions = { disableOfflineQueue: true } as const
/** A node that is slow to answer, on a busy machine, is not taken for dead. */
const settings = { 'cluster-node-timeout': '15000' }

type FeedClient = Client &
  RedisFeedClient & { xTrim(key: string, strategy: 'MAXLEN', threshold: number): Promise<unknown> }

function contractOn(name: string, start: () => Promise<Engine<FeedClient>>, o: RedisFeedOptions = {}): void {
  onRedis(name, start, (fresh) => {
    const make = () => {
      const { one, two, prefix: key } = fresh()
      return {
        feed: redisFeed(one, { key, ...o }),
        another: () => redisFeed(two, { key, ...o }),
        trim: async () => void (await one.xTrim(key, 'MAXLEN', 0)),
      }
    }
    testFeed(name, make, { test })
  })
}

async function single(): Promise<Engine<FeedClient>> {
  const server = await startRedis()
  return { client: () => createClient({ url: server.url, ...serverOptions }), stop: server.stop }
}

async function cluster(replicas: number): Promise<Engine<FeedClient>> {
  const { nodes, rootNodes, stop } = await startRedisCluster({ replicas, settings })
  if (replicas > 0) await Promise.all(nodes.slice(0, rootNodes.length).map(untilConfirmed))
  return { client: () => createCluster({ rootNodes: [...rootNodes], defaults: serverOptions }), stop }
}

async function sentinel(): Promise<Engine<FeedClient>> {
  const { name, master, sentinelRootNodes, stop } = await startRedisSentinel()
  await untilConfirmed(master)
  const nodes = { sentinelRootNodes: [...sentinelRootNodes], nodeClientOptions: serverOptions }
  return { client: () => createSentinel({ name, ...nodes }), stop }
}

/** A primary takes note of a new replica only when that reports, once a second. */
async function untilConfirmed({ url }: Server): Promise<void> {
  const client = await createClient({ url }).connect()
  await client.publish('any', '')
  assert.equal(await client.wait(1, 5_000), 1)
  client.destroy()
}

contractOn('redis', single)
contractOn('redis pool', async () => {
  const server = await startRedis()
  return { client: () => createClientPool({ url: server.url, ...serverOptions }), stop: server.stop }
})
contractOn('redis cluster', () => cluster(0))
contractOn('redis sentinel', sentinel)
contractOn('redis cluster, confirmed by a replica', () => cluster(1), { durability: { replicas: 1, timeout: '900ms' } })
contractOn('redis sentinel, confirmed by a replica', sentinel, { durability: { replicas: 1, timeout: '900ms' } })

test('options that can not be meant are refused', () => {
  const client = createClient()
  assert.throws(
    () => redisFeed(client, { durability: { replicas: 0 } }),
    /durability\.replicas: expected a whole number/,
  )
  assert.throws(
    () => redisFeed(client, { durability: { replicas: 1, timeout: '2s' } }),
    /durability\.timeout: expected/,
  )
  assert.throws(() => redisFeed(client, { retention: '0s' }), /retention: expected a positive duration/)
  assert.throws(() => redisFeed(createClient({ keyPrefix: 'app:' })), /keyPrefix/)
})
