// The contract on Redis: one server, a pool, Sentinel, Cluster; alone and with replicas that have to confirm.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { redisFeed, type RedisFeedClient, type RedisFeedOptions } from 'holdfast/feeds/redis'
import { testFeed } from 'holdfast/testing'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { startRedis, startRedisCluster, startRedisSentinel } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'

const serverOptions = { disableOfflineQueue: true } as const

interface Connection extends RedisFeedClient {
  connect(): Promise<unknown>
  close(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): unknown
  xTrim(key: string, strategy: 'MAXLEN', threshold: number): Promise<unknown>
}

interface Engine {
  connection(): Connection
  stop(): Promise<void>
}

/** The contract, on two connections that all its tests share; each test has a key of its own. */
function contractOn(name: string, start: () => Promise<Engine>, o: RedisFeedOptions = {}): void {
  describe(name, () => {
    const open: Connection[] = []
    let stop = async () => {}
    let tests = 0

    before(async () => {
      const engine = await start()
      stop = engine.stop
      for (let i = 0; i < 2; i++) {
        const client = engine.connection()
        client.on('error', () => {})
        await client.connect()
        open.push(client)
      }
    })
    after(async () => {
      for (const client of open) await client.close()
      await stop()
    })

    const make = () => {
      const key = `test${process.pid}-${tests++}`
      return {
        feed: redisFeed(open[0]!, { key, ...o }),
        another: () => redisFeed(open[1]!, { key, ...o }),
        trim: async () => void (await open[0]!.xTrim(key, 'MAXLEN', 0)),
      }
    }
    testFeed(name, make, { test })
  })
}

async function single(): Promise<Engine> {
  const server = await startRedis()
  return { connection: () => createClient({ url: server.url, ...serverOptions }), stop: server.stop }
}

async function cluster(replicas: number): Promise<Engine> {
  const { nodes, rootNodes, stop } = await startRedisCluster({ replicas })
  if (replicas > 0) await Promise.all(nodes.slice(0, rootNodes.length).map(untilConfirmed))
  return { connection: () => createCluster({ rootNodes: [...rootNodes], defaults: serverOptions }), stop }
}

async function sentinel(): Promise<Engine> {
  const { name, master, sentinelRootNodes, stop } = await startRedisSentinel()
  await untilConfirmed(master)
  const nodes = { sentinelRootNodes: [...sentinelRootNodes], nodeClientOptions: serverOptions }
  return { connection: () => createSentinel({ name, ...nodes }), stop }
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
  return { connection: () => createClientPool({ url: server.url, ...serverOptions }), stop: server.stop }
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
