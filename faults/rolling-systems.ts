// The two systems that are restarted: the application of docs/guide/sticky.md on NATS, and the session service on Redis.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { startNatsCluster, type NatsCluster, type NatsServer } from '../scripts/servers/nats.ts'
import { startRedis } from '../scripts/servers/redis.ts'
import { startBalancer, type Balancer, type BalancerKind } from './rolling-balancer.ts'
import { browsers, callers, type Frontend } from './rolling-clients.ts'
import { startReplica, type Replica } from './rolling-replica.ts'

export interface System {
  readonly replicas: readonly Replica[]
  readonly balancer: Balancer
  readonly frontend: Frontend
  /** The past-the-balancer way in. */
  frontendOf(replica: Replica): Frontend
  /** How old what is read may be. */
  readonly lagMs: number
  /** The server of the engine whose loss hurts most; `null` where the engine is one alone. */
  leader: (() => Promise<NatsServer>) | null
  stop(): Promise<void>
}

const root = join(import.meta.dirname, '..')
const names = ['a', 'b', 'c']

export async function application(balancerKind: Exclude<BalancerKind, 'round robin'>): Promise<System> {
  return withCleanup(async (later) => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-rolling-'))
    later(async () => rmSync(folder, { recursive: true }))
    const nats = await startNatsCluster()
    later(() => nats.stop())
    const program = written(folder)
    const replicas = await Promise.all(
      names.map((name) =>
        startReplica(name, [program], (port) => ({
          HOST: '127.0.0.1',
          PORT: String(port),
          INSTANCE: name,
          NATS_SERVERS: nats.urls.join(),
        })),
      ),
    )
    for (const replica of replicas) later(() => replica.stop())
    const balancer = await startBalancer(
      balancerKind,
      replicas.map(({ port }) => port),
    )
    later(() => balancer.stop())
    return {
      replicas,
      balancer,
      frontend: browsers(balancer.url),
      frontendOf: ({ url }) => browsers(url),
      lagMs: 1_000,
      leader: () => leaderOf(nats),
    }
  })
}

export async function service(): Promise<System> {
  return withCleanup(async (later) => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-rolling-'))
    later(async () => rmSync(folder, { recursive: true }))
    const redis = await startRedis()
    later(() => redis.stop())
    const secret = crypto.randomUUID() + crypto.randomUUID()
    const replicas = await Promise.all(
      names.map((name) => {
        const data = join(folder, name)
        mkdirSync(data)
        return startReplica(name, [join(root, 'service/src/main.ts'), 'serve'], (port) => ({
          HOLDFAST_PORT: String(port),
          HOLDFAST_DATA: data,
          HOLDFAST_STORE: redis.url,
          HOLDFAST_ADMIN_SECRET: secret,
          HOLDFAST_SECRET: secret,
          HOLDFAST_ISSUER: 'https://sessions.test',
          HOLDFAST_LOG: 'silent',
        }))
      }),
    )
    for (const replica of replicas) later(() => replica.stop())
    const balancer = await startBalancer(
      'round robin',
      replicas.map(({ port }) => port),
    )
    later(() => balancer.stop())
    return {
      replicas,
      balancer,
      frontend: callers(balancer.url, secret),
      frontendOf: ({ url }) => callers(url, secret),
      lagMs: 0,
      leader: null,
    }
  })
}

/** What was started before something failed to start is stopped. */
async function withCleanup(
  make: (later: (stop: () => Promise<void>) => void) => Promise<Omit<System, 'stop'>>,
): Promise<System> {
  const stops: (() => Promise<void>)[] = []
  const stop = async () => {
    for (const end of stops.splice(0).toReversed()) await end()
  }
  try {
    const system = await make((end) => stops.push(end))
    return { ...system, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** The guide's program as it stands there. */
function written(folder: string): string {
  const guide = readFileSync(join(root, 'docs/guide/sticky.md'), 'utf8')
  const file = join(folder, 'application.ts')
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(file, [...guide.matchAll(/```ts\n([^]+?)```/g)].map(([, code]) => code).join('\n'))
  return file
}

async function leaderOf(nats: NatsCluster): Promise<NatsServer> {
  const connection = await connect({ servers: [...nats.urls], noAsyncTraces: true })
  try {
    const { cluster } = await (await jetstreamManager(connection)).streams.info('holdfast')
    return nats.servers.find(({ name }) => name === cluster?.leader)!
  } finally {
    await connection.close()
  }
}
