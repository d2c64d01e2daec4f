// NATS with JetStream for tests: one server, and a cluster.
import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { borrowed, findProgram, freePort, onFreePort, tended, type Server } from './server.ts'

export interface NatsServer extends Server {
  /** What servers of a cluster call each other, and streams their leader. */
  readonly name: string
  /** Starts it again after `kill()`, on the same port with the same data; resolves when it accepts connections. */
  restart(): Promise<void>
}

/** One NATS server with JetStream, its data in a temporary folder. `flags` are more of the command line: `['--user', 'a', '--pass', 'b']`. */
export async function startNats(o: { flags?: readonly string[] } = {}): Promise<NatsServer> {
  const shared = borrowed('NATS_URL', 4222)
  if (shared !== null) return { ...shared, name: '', restart: () => shared.kill() }
  return start('n1', o.flags ?? [])
}

export interface NatsCluster {
  readonly servers: readonly NatsServer[]
  /** What `connect` takes as `servers`. */
  readonly urls: readonly string[]
  stop(): Promise<void>
}

/** A cluster of `servers` (3); resolves when it has a leader that can place a stream on all of them. */
export async function startNatsCluster(o: { servers?: number | undefined } = {}): Promise<NatsCluster> {
  const size = o.servers ?? 3
  const routes: number[] = []
  while (routes.length < size) routes.push(await freePort())
  const servers: NatsServer[] = []
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())))
  try {
    await Promise.all(
      routes.map(async (route, i) => {
        const others = routes.filter((port) => port !== route).map((port) => `nats://127.0.0.1:${port}`)
        const name = `n${i + 1}`
        const cluster = ['--cluster_name', 'holdfast', '--cluster', `nats://127.0.0.1:${route}`]
        servers[i] = await start(name, [...cluster, '--routes', others.join(',')])
      }),
    )
    await untilPlaceable(
      servers.map(({ url }) => url),
      size,
    )
  } catch (error) {
    await stop()
    throw error
  }
  return { servers, urls: servers.map(({ url }) => url), stop }
}

async function start(name: string, flags: readonly string[]): Promise<NatsServer> {
  const program = findProgram('nats-server', { package: 'nats-server', variable: 'NATS_URL' })
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-nats-'))
  const launch = async (port: number) => {
    const own = ['-a', '127.0.0.1', '-p', String(port), '-n', name, '-js', '-sd', folder]
    const child = spawn(program, [...own, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] })
    const url = `nats://127.0.0.1:${port}`
    return tended(child, { url, port, folder, output: child.stderr, ready: /Server is ready/ })
  }
  const launched = [await onFreePort(undefined, launch)]
  const last = () => launched.at(-1)!
  return {
    name,
    url: last().url,
    port: last().port,
    get pid() {
      return last().pid
    },
    restart: async () => void launched.push(await launch(last().port)),
    kill: () => last().kill(),
    pause: () => last().pause(),
    resume: () => last().resume(),
    stop: async () => void (await Promise.all(launched.map((server) => server.stop()))),
  }
}

/** The leader places a stream on servers that it has heard of; that takes a moment longer than its election. */
async function untilPlaceable(urls: readonly string[], replicas: number): Promise<void> {
  const connection = await connect({ servers: [...urls], noAsyncTraces: true })
  try {
    const manager = await jetstreamManager(connection, { timeout: 1_000, checkAPI: false })
    for (const until = Date.now() + 30_000; ;) {
      try {
        await manager.streams.add({ name: 'ready', subjects: ['ready'], num_replicas: replicas })
        await manager.streams.delete('ready')
        return
      } catch (error) {
        if (Date.now() > until) throw error
        // There is no event for this; 50 ms between two looks.
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  } finally {
    await connection.close()
  }
}
