// The system under test: a Redis, services on it, verifying processes on both, and a link of ours between any two of them.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../scripts/servers/server.ts'
import type { Bug } from './bugs.ts'
import { boundMs } from './node-sessions.ts'
import type { KnownToken, NodeConfig, Reach } from './node-protocol.ts'
import { startNode, startService, type Part, type VerifyingNode } from './parts.ts'
import { startProxy, type Proxy } from './proxy.ts'
import { sentinelRedis, singleRedis, type RedisSystem } from './redis-system.ts'

export interface TopologyOptions {
  readonly redis: RedisSystem['kind']
  /** Verifying processes on the store itself. */
  readonly direct: number
  readonly services: number
  /** Verifying processes that reach the sessions through a service. */
  readonly connected: number
  readonly seed: number
  readonly bug: Bug | null
  readonly historyFolder: string
  readonly known: () => readonly KnownToken[]
}

export interface Topology {
  readonly redis: RedisSystem
  readonly direct: readonly VerifyingNode[]
  readonly services: readonly Part[]
  readonly connected: readonly VerifyingNode[]
  /** All connections of one part to one other; under Sentinel one per server. */
  readonly links: readonly Link[]
  stop(): Promise<void>
}

export interface Link {
  readonly name: string
  readonly proxies: readonly Proxy[]
}

const adminSecret = 'the-admin-secret-of-these-runs-which-is-long'
const secret = 'the-secret-of-the-keyring-of-these-runs-which-is-long'
const issuer = 'http://sessions.test'

export async function startTopology(o: TopologyOptions): Promise<Topology> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-faults-'))
  const redis = await (o.redis === 'redis' ? singleRedis() : sentinelRedis())
  const links: Link[] = []

  async function link(name: string, ports: readonly number[]): Promise<Record<number, number>> {
    const proxies = await Promise.all(ports.map((port) => startProxy(port)))
    links.push({ name, proxies })
    return Object.fromEntries(ports.map((port, i) => [port, proxies[i]!.port]))
  }

  async function service(i: number): Promise<{ part: Part; port: number }> {
    const name = `service-${i}`
    const port = await freePort()
    const part = await startService(name, {
      HOLDFAST_PORT: String(port),
      HOLDFAST_DATA: folder,
      HOLDFAST_STORE: await storeUrl(name),
      HOLDFAST_ADMIN_SECRET: adminSecret,
      HOLDFAST_SECRET: secret,
      HOLDFAST_ISSUER: issuer,
      HOLDFAST_MAX_STALENESS: `${boundMs}ms`,
      HOLDFAST_LOG: 'silent',
    })
    return { part, port }
  }

  async function storeUrl(name: string): Promise<string> {
    if (redis.kind === 'redis') {
      const [port] = redis.ports
      return `redis://127.0.0.1:${(await link(`${name} and redis`, redis.ports))[port!]}`
    }
    // The command takes the servers' addresses as the sentinels give them, so there is no link of ours.
    return `redis+sentinel://${redis.sentinels.map(({ host, port }) => `${host}:${port}`).join()}/holdfast`
  }

  async function directReach(name: string): Promise<Reach> {
    const ports = await link(`${name} and redis`, redis.ports)
    if (redis.kind === 'redis') return { kind: 'redis', port: ports[redis.ports[0]!]! }
    return { kind: 'sentinel', name: 'holdfast', sentinels: redis.sentinels, links: ports }
  }

  function node(name: string, i: number, reach: Reach): Promise<VerifyingNode> {
    const { bug, historyFolder } = o
    const config: NodeConfig = { name, seed: o.seed * 1_000 + i * 100, historyFolder, reach, bug, issuer, secret }
    return startNode(config, o.known)
  }

  const started = await Promise.all(range(o.services).map(service))
  const services = started.map(({ part }) => part)
  const direct = await Promise.all(
    range(o.direct).map(async (i) => node(`direct-${i}`, i, await directReach(`direct-${i}`))),
  )
  const connected = await Promise.all(
    range(o.connected).map(async (i) => {
      const name = `connected-${i}`
      const { port } = started[i % started.length]!
      const near = (await link(`${name} and service-${i % started.length}`, [port]))[port]!
      const url = `http://127.0.0.1:${near}`
      return node(name, 50 + i, { kind: 'service', url, clientId: 'admin', clientSecret: adminSecret })
    }),
  )
  return {
    redis,
    direct,
    services,
    connected,
    links,
    async stop() {
      await Promise.all([...direct, ...connected, ...services].map((part) => part.stop()))
      for (const { proxies } of links) for (const proxy of proxies) proxy.close()
      await redis.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}
