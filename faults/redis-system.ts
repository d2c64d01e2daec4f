// The Redis of a run: alone, with every write on disk before it is answered, or under Sentinel with two replicas.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'
import { startRedis, startRedisSentinel } from '../scripts/servers/redis.ts'
import type { Server } from '../scripts/servers/server.ts'

export interface RedisSystem {
  readonly kind: 'redis' | 'sentinel'
  /** Of all servers that may hold sessions. */
  readonly ports: readonly number[]
  readonly sentinels: readonly { readonly host: string; readonly port: number }[]
  /** `kill -9` of the master. */
  kill(): Promise<void>
  /** What was killed comes back: with what is on its disk, or as a replica. */
  restart(): Promise<void>
  pause(): Promise<void>
  resume(): void
  /** Removes every notice. */
  trim(): Promise<void>
  stop(): Promise<void>
}

const feedKey = 'hf:feed'

export async function singleRedis(): Promise<RedisSystem> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-faults-redis-'))
  const settings = { appendonly: 'yes', appendfsync: 'always' }
  let server = await startRedis({ folder, settings })
  const { port } = server
  return {
    kind: 'redis',
    ports: [port],
    sentinels: [],
    kill: () => server.kill(),
    async restart() {
      await server.stop()
      server = await startRedis({ folder, port, settings })
    },
    pause: async () => server.pause(),
    resume: () => server.resume(),
    trim: async () => void (await command(port, ['XTRIM', feedKey, 'MAXLEN', '0'])),
    async stop() {
      server.resume()
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const name = 'holdfast'
/** How long a master may be silent. With less, Sentinel may take a second failover of the new primary (docs/failover.md). */
const downAfterMs = 2_000

export async function sentinelRedis(): Promise<RedisSystem> {
  const group = await startRedisSentinel({ replicas: 2, sentinels: 3 })
  const servers = new Map<number, Server>([group.master, ...group.replicas].map((server) => [server.port, server]))
  let struck: Server | null = null
  for (const { port } of group.sentinels) {
    await command(port, ['SENTINEL', 'SET', name, 'down-after-milliseconds', String(downAfterMs)])
    await command(port, ['SENTINEL', 'SET', name, 'failover-timeout', '4000'])
  }

  async function master(): Promise<number> {
    const address = await command(group.sentinels[0]!.port, ['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name])
    return Number((address as string[])[1])
  }

  async function strike(): Promise<Server> {
    struck = servers.get(await master())!
    return struck
  }

  return {
    kind: 'sentinel',
    ports: [...servers.keys()],
    sentinels: group.sentinelRootNodes,
    kill: async () => (await strike()).kill(),
    async restart() {
      const { port } = struck!
      // With nothing on its disk it must not come back as a master.
      servers.set(port, await startRedis({ port, settings: { replicaof: `127.0.0.1 ${await master()}` } }))
      await struck!.stop()
    },
    pause: async () => (await strike()).pause(),
    resume: () => struck!.resume(),
    trim: async () => void (await command(await master(), ['XTRIM', feedKey, 'MAXLEN', '0'])),
    async stop() {
      await group.stop()
      await Promise.all([...servers.values()].map((server) => server.stop()))
    },
  }
}

async function command(port: number, args: string[]): Promise<unknown> {
  const client = createClient({ url: `redis://127.0.0.1:${port}`, RESP: 2 })
  client.on('error', () => {})
  await client.connect()
  try {
    return await client.sendCommand(args)
  } finally {
    client.destroy()
  }
}
