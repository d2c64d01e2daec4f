// The contract on Redis: one server, Sentinel, Cluster.
import { test } from 'node:test'
import { redisStore, type RedisStoreClient } from 'holdfast/stores/redis'
import { fakeClock, testStore } from 'holdfast/testing'
import { createClient, createCluster, createSentinel } from 'redis'
import { startRedis, startRedisCluster, startRedisSentinel } from '../../../scripts/servers/redis.ts'
import { onRedis, type Client, type Engine } from '../redis-fixtures.ts'

const serverOptions = { disableOfflineQueue: true } as const
/** A node that is slow to answer, on a busy machine, is not taken for dead. */
const settings = { 'cluster-node-timeout': '15000' }

function contractOn(name: string, start: () => Promise<Engine<Client & RedisStoreClient>>): void {
  onRedis(name, start, (fresh) => {
    const make = (o: { clock?: ReturnType<typeof fakeClock> }) => {
      const { one, two, prefix } = fresh()
      return { store: redisStore(one, { prefix, ...o }), another: () => redisStore(two, { prefix, ...o }), ...o }
    }
    testStore(name, () => make({ clock: fakeClock(Date.now()) }), { test })
    testStore(`${name}, in real time`, () => make({}), { test })
  })
}

contractOn('redis', async () => {
  const { url, stop } = await startRedis()
  return { client: () => createClient({ url, ...serverOptions }), stop }
})

contractOn('redis cluster', async () => {
  const { rootNodes, stop } = await startRedisCluster({ settings })
  return { client: () => createCluster({ rootNodes: [...rootNodes], defaults: serverOptions }), stop }
})

contractOn('redis sentinel', async () => {
  const { name, sentinelRootNodes, stop } = await startRedisSentinel()
  const nodes = { sentinelRootNodes: [...sentinelRootNodes], nodeClientOptions: serverOptions }
  return { client: () => createSentinel({ name, ...nodes }), stop }
})
