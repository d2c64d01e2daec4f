// The Redis of a measurement: empty, on the core of the load, and able to say how many commands it was sent.
import { createClient } from 'redis'
import { startRedis } from '../../scripts/servers/redis.ts'
import { withoutTimeout } from './contender.ts'
import { loadCore, pin } from './machine.ts'

export interface BenchRedis {
  readonly url: string
  readonly version: string
  empty(): Promise<void>
  /** Commands executed so far, but for those that ask this. */
  commands(): Promise<number>
  usedMemory(): Promise<number>
  stop(): Promise<void>
}

/** On the core of the load unless `core` is null, so that it never takes time from the server under measurement. */
export async function benchRedis(core: string | null = loadCore): Promise<BenchRedis> {
  const server = await startRedis()
  if (core !== null) pin(server.pid, core)
  const client = createClient({ url: server.url, ...withoutTimeout })
  client.on('error', (error: unknown) => {
    throw error
  })
  await client.connect()
  return {
    url: server.url,
    version: /^redis_version:(.+)$/m.exec(await client.info('server'))?.[1]?.trim() ?? 'unknown',
    empty: async () => void (await client.flushAll()),
    async commands() {
      const lines = (await client.info('commandstats')).matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)
      return [...lines].filter(([, name]) => name !== 'info').reduce((sum, [, , calls]) => sum + Number(calls), 0)
    },
    async usedMemory() {
      return Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1])
    },
    async stop() {
      client.destroy()
      await server.stop()
    },
  }
}
