// NATS JetStream on three hosts, every stream on all of them.
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { natsFeed, natsFeedStream } from 'holdfast/feeds/nats'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { findProgram, type Server } from '../../scripts/servers/server.ts'
import { clock, since, type Engine } from './engine.ts'
import { startHost, type Host } from './network.ts'

const port = 4222
const routePort = 6222
const replicas = 3
/** A server that came back has caught up by then. */
const patienceMs = 15_000
const settings = ['replicated', 'replicated, feed', 'replicated, feed, refuse']

interface Machine {
  readonly host: Host
  readonly name: string
  /** The last one runs. */
  readonly servers: Server[]
  start(): Promise<void>
}

export async function nats(): Promise<Engine> {
  const program = findProgram('nats-server', { package: 'nats-server', variable: 'NATS_URL' })
  const hosts = [await startHost(1), await startHost(2), await startHost(3)]
  const machines = hosts.map((host, i) => machine(host, `n${i + 1}`))
  await Promise.all(machines.map(({ start }) => start()))
  const streams: string[] = []
  /** Of the last run, by setting. */
  const streamsOf = new Map<string, readonly string[]>()

  function machine(host: Host, name: string): Machine {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-failover-'))
    const servers: Server[] = []
    const route = ({ address }: Host) => `nats://${address}:${routePort}`
    const own = ['-a', host.address, '-p', String(port), '-n', name, '-js', '-sd', folder]
    const others = hosts.filter((other) => other !== host).map(route)
    const group = ['--cluster_name', 'holdfast', '--cluster', route(host), '--routes', others.join()]
    const url = `nats://${host.address}:${port}`
    const start = async () => {
      const launched = { url, port, folder, ready: /Server is ready/, says: 'stderr' } as const
      servers.push(await host.run(program, [...own, ...group], launched))
    }
    return { host, name, servers, start }
  }

  /** As docs/failover.md says that connections should be set up; the first server is that of `n`. */
  async function open(n: number, among: readonly Machine[] = machines): Promise<NatsConnection> {
    return connect({
      servers: among.map((_, i) => `${among[(i + n) % among.length]!.host.address}:${port}`),
      noRandomize: true,
      noAsyncTraces: true,
      ignoreClusterUpdates: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      timeout: 1_000,
      pingInterval: 1_000,
    })
  }

  /** Made once it can be: the servers have to know each other. */
  async function add(connection: NatsConnection, stream: ReturnType<typeof natsStoreStream>): Promise<void> {
    if (streams.includes(stream.name)) return
    const manager = await jetstreamManager(connection, { timeout: 2_000, checkAPI: false })
    await since('the stream', async () => (await manager.streams.add(stream as never)) !== null)
    streams.push(stream.name)
  }

  const admin = await open(0)
  const plainStream = natsStoreStream({ stream: 'plain', replicas })
  await add(admin, plainStream)
  const version = String((admin.info as { version?: string } | undefined)?.version)
  await admin.close()

  return {
    version: `NATS ${version}`,
    settings,
    apart: false,
    async connect(setting, space, n) {
      const connection = await open(n)
      await add(connection, natsStoreStream({ stream: space, replicas }))
      const manager = await jetstreamManager(connection, { timeout: 1_000, checkAPI: false })
      const followed = { stream: `${space}-feed` }
      const hasFeed = setting.includes('feed')
      if (hasFeed) await add(connection, natsFeedStream({ ...followed, replicas }))
      streamsOf.set(setting, hasFeed ? [space, followed.stream] : [space])
      return {
        store: natsStore(connection, manager, { stream: space }),
        feed: hasFeed ? natsFeed(connection, manager, followed) : null,
        ...(setting.endsWith('refuse') ? { whenStale: 'refuse' as const } : {}),
        close: () => void connection.close(),
      }
    },
    async plain(n) {
      const connection = await open(n)
      const client = jetstream(connection, { timeout: 500 })
      return { write: () => client.publish('plain.any', ''), close: () => void connection.close() }
    },
    async strike(fault) {
      const mine = ['plain', ...[...streamsOf.values()].flat()]
      const struck = machines[Math.floor(Math.random() * machines.length)]!
      await lead(struck, mine)
      const others = machines.filter((other) => other !== struck)
      const watch = await elections(others, mine)
      const at = clock()
      if (fault === 'kill') await struck.servers.at(-1)!.kill()
      else if (fault === 'cut') struck.host.cut()
      else struck.host.isolate(others.map(({ host }) => host))
      return {
        at,
        promotedAt: watch.electedAt
          .then(
            (at) => (setting: string) =>
              Math.max(...(streamsOf.get(setting) ?? ['plain']).map((name) => at.get(name)!)),
          )
          .finally(() => void watch.close()),
        async heal() {
          if (fault === 'kill') await struck.start()
          else struck.host.join()
          await since('three replicas', () => isWhole(mine), patienceMs).catch(async () => {
            // nats-server 2.9.10 as a leader that was split off may not catch up by itself.
            console.log(`   ${struck.name} was started again`)
            await struck.servers.at(-1)!.kill()
            await struck.start()
            await since('three replicas', () => isWhole(mine))
          })
        },
      }
    },
    async stop() {
      await Promise.all(machines.flatMap(({ servers }) => servers).map((server) => server.stop()))
      for (const { host } of machines) host.stop()
    },
  }

  /** Has all of the streams led by one server. */
  async function lead({ name }: Machine, mine: readonly string[]): Promise<void> {
    const connection = await open(0)
    const manager = await jetstreamManager(connection, { timeout: 1_000, checkAPI: false })
    for (const stream of mine) {
      await since(`${stream} led by ${name}`, async () => {
        const { cluster } = await manager.streams.info(stream)
        if (cluster?.leader === name) return true
        await connection.request(`$JS.API.STREAM.LEADER.STEPDOWN.${stream}`, '', { timeout: 1_000 })
        await since('a leader', async () => (await manager.streams.info(stream)).cluster?.leader !== undefined)
        return false
      })
    }
    await connection.close()
  }

  async function isWhole(mine: readonly string[]): Promise<boolean> {
    const connection = await open(0)
    try {
      const manager = await jetstreamManager(connection, { timeout: 1_000, checkAPI: false })
      const clusters = await Promise.all(mine.map(async (stream) => (await manager.streams.info(stream)).cluster))
      return clusters.every((cluster) => cluster?.replicas?.every(({ current, offline }) => current && !offline))
    } finally {
      await connection.close()
    }
  }

  /** Resolves when each of the streams has elected another leader, as the servers announce it. */
  async function elections(others: readonly Machine[], mine: readonly string[]) {
    const connection = await open(0, others)
    const electedAt = new Map<string, number>()
    const all = Promise.withResolvers<ReadonlyMap<string, number>>()
    connection.subscribe('$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.>', {
      callback: (_, message) => {
        const { stream } = message.json<{ stream: string }>()
        electedAt.set(stream, clock())
        if (mine.every((name) => electedAt.has(name))) all.resolve(electedAt)
      },
    })
    await connection.flush()
    return { electedAt: all.promise, close: () => connection.close() }
  }
}
