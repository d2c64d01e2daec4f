// The contract on Redis: one server, Sentinel, Cluster.
import { after, before, describe, test } from 'node:test'
import { redisStore, type RedisStoreClient } from 'holdfast/stores/redis'
import { fakeClock, testStore, type StoreUnderTest } from 'holdfast/testing'
import { createClient, createCluster, createSentinel } from 'redis'
import { startRedis, startRedisCluster, startRedisSentinel } from '../../../scripts/servers/redis.ts'

const serverOptions = { disableOfflineQueue: true } as const

interface Connection extends RedisStoreClient {
  connect(): Promise<unknown>
  close(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** The contract, on two connections that all its tests share; each test has a prefix of its own. */
function contractOn(name: string, start: () => Promise<{ connection: () => Connection; stop(): Promise<void> }>): void {
  describe(name, () => {
    const open: Connection[] = []
    let stop = async () => {}
    let tests = 0

    before(async () => {
      const server = await start()
      stop = server.stop
      for (let i = 0; i < 2; i++) {
        const client = server.connection()
        client.on('error', () => {})
        await client.connect()
        open.push(client)
      }
    })
    after(async () => {
      for (const client of open) await client.close()
      await stop()
    })

    const make = (o: { clock?: ReturnType<typeof fakeClock> }): StoreUnderTest => {
      const prefix = `test${process.pid}-${tests++}:`
      return {
        store: redisStore(open[0]!, { prefix, ...o }),
        another: () => redisStore(open[1]!, { prefix, ...o }),
        ...o,
      }
    }
    testStore(name, () => make({ clock: fakeClock(Date.now()) }), { test })
    testStore(`${name}, in real time`, () => make({}), { test })
  })
}

contractOn('redis', async () => {
  const server = await startRedis()
  return { connection: () => createClient({ url: server.url, ...serverOptions }), stop: server.stop }
})

contractOn('redis cluster', async () => {
  const { rootNodes, stop } = await startRedisCluster()
  return { connection: () => createCluster({ rootNodes: [...rootNodes], defaults: serverOptions }), stop }
})

contractOn('redis sentinel', async () => {
  const { name, sentinelRootNodes, stop } = await startRedisSentinel()
  return {
    connection: () =>
      createSentinel({ name, sentinelRootNodes: [...sentinelRootNodes], nodeClientOptions: serverOptions }),
    stop,
  }
})
