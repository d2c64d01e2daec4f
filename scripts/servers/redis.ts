// Redis for tests: one server, Sentinel, Cluster.
import { spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'
import { borrowed, findProgram, freePort, onFreePort, tended, type Server } from './server.ts'

export interface RedisOptions {
  /** `0`, the default: a free one. Give the old one to start a killed server again. */
  port?: number | undefined
  /** A folder that outlives `stop()`; default is a temporary one. */
  folder?: string | undefined
  /** Settings as on the command line: `{ appendonly: 'yes' }`. */
  settings?: Readonly<Record<string, string>> | undefined
}

/** One Redis server, ready to accept connections. It keeps nothing on disk unless the settings say so. */
export async function startRedis(o: RedisOptions = {}): Promise<Server> {
  return borrowed('REDIS_URL', 6379) ?? startProcess(o, [])
}

export interface RedisCluster {
  /** The masters, then their replicas. */
  readonly nodes: readonly Server[]
  /** What `createCluster` takes as `rootNodes`. */
  readonly rootNodes: readonly { url: string }[]
  stop(): Promise<void>
}

/** A Redis Cluster of `masters` (3) with `replicas` (0) each, every slot assigned and every node agreeing. */
export async function startRedisCluster(
  o: { masters?: number | undefined; replicas?: number | undefined; settings?: RedisOptions['settings'] } = {},
): Promise<RedisCluster> {
  const masters = o.masters ?? 3
  const settings = { 'cluster-enabled': 'yes', 'cluster-node-timeout': '1000', ...o.settings }
  const nodes = await Promise.all(
    Array.from({ length: masters * (1 + (o.replicas ?? 0)) }, async () =>
      startProcess({ settings: { ...settings, 'cluster-port': String(await freePort()) } }, []),
    ),
  )
  const stop = async () => void (await Promise.all(nodes.map((node) => node.stop())))
  try {
    await joinCluster(nodes, masters)
  } catch (error) {
    await stop()
    throw error
  }
  return { nodes, rootNodes: nodes.slice(0, masters).map(({ url }) => ({ url })), stop }
}

export interface RedisSentinel {
  /** The name of the master that the sentinels watch. */
  readonly name: 'holdfast'
  readonly master: Server
  readonly replicas: readonly Server[]
  readonly sentinels: readonly Server[]
  /** What `createSentinel` takes as `sentinelRootNodes`. */
  readonly sentinelRootNodes: readonly { host: string; port: number }[]
  stop(): Promise<void>
}

/** A master with `replicas` (1) and `sentinels` (1) watching it; resolves when the replicas are in sync and known. */
export async function startRedisSentinel(
  o: { replicas?: number | undefined; sentinels?: number | undefined; settings?: RedisOptions['settings'] } = {},
): Promise<RedisSentinel> {
  const started: Server[] = []
  const stop = async () => void (await Promise.all(started.map((server) => server.stop())))
  const start = async (options: RedisOptions, mode: readonly string[]) => {
    const server = await startProcess(options, mode)
    started.push(server)
    return server
  }
  try {
    const count = o.replicas ?? 1
    const master = await start({ settings: o.settings }, [])
    const replicas = await Promise.all(
      Array.from({ length: count }, () =>
        start({ settings: { ...o.settings, replicaof: `127.0.0.1 ${master.port}` } }, []),
      ),
    )
    // A sentinel that starts before the replicas are linked learns of them only ten seconds later.
    for (const replica of replicas) await untilInfo(replica, 'replication', /master_link_status:up/)
    // Linked is not yet in sync: one that has acknowledged nothing could be promoted, and with it nothing that others had confirmed.
    await untilInfo(master, 'replication', new RegExp(`(?:state=online,offset=[1-9][^]*){${count}}`))
    const quorum = Math.floor((o.sentinels ?? 1) / 2) + 1
    const sentinels = await Promise.all(
      Array.from({ length: o.sentinels ?? 1 }, () =>
        start({ settings: { 'sentinel monitor': `holdfast 127.0.0.1 ${master.port} ${quorum}` } }, ['--sentinel']),
      ),
    )
    for (const sentinel of sentinels) {
      await untilInfo(sentinel, 'sentinel', new RegExp(`slaves=${count},sentinels=${sentinels.length}`))
    }
    const sentinelRootNodes = sentinels.map(({ port }) => ({ host: '127.0.0.1', port }))
    return { name: 'holdfast', master, replicas, sentinels, sentinelRootNodes, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function startProcess(o: RedisOptions, mode: readonly string[]): Promise<Server> {
  return onFreePort(o.port, (port) => launch(port, o, mode))
}

/** A replica need not wait five seconds for others to share a sync with. */
const eager = { 'repl-diskless-sync-delay': '0' }

async function launch(port: number, o: RedisOptions, mode: readonly string[]): Promise<Server> {
  const folder = o.folder ?? mkdtempSync(join(tmpdir(), 'holdfast-redis-'))
  const config = join(folder, `${port}.conf`)
  const settings = { port: String(port), bind: '127.0.0.1', dir: folder, save: '""', ...eager, ...o.settings }
  writeFileSync(
    config,
    Object.entries(settings)
      .map(([name, value]) => `${name} ${value}\n`)
      .join(''),
  )

  const program = findProgram('redis-server', { package: 'redis-server', variable: 'REDIS_URL' })
  const child = spawn(program, [config, ...mode], { stdio: ['ignore', 'pipe', 'ignore'] })
  const ready = mode.length > 0 ? /\+monitor|Sentinel ID/ : /Ready to accept connections/
  const url = `redis://127.0.0.1:${port}`
  const temporary = o.folder === undefined ? folder : null
  return tended(child, { url, port, folder: temporary, output: child.stdout, ready })
}

async function joinCluster(nodes: readonly Server[], masters: number): Promise<void> {
  const share = (i: number) => Math.round((i * 16384) / masters)
  for (const [i, node] of nodes.entries()) {
    // Refused as soon as a node knows another one.
    await command(node, ['CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1)])
    if (i < masters) await command(node, ['CLUSTER', 'ADDSLOTSRANGE', String(share(i)), String(share(i + 1) - 1)])
  }
  for (const node of nodes) {
    const [, busPort] = (await command(node, ['CONFIG', 'GET', 'cluster-port'])) as string[]
    // Everyone to everyone: hearsay alone takes seconds.
    for (const other of nodes) {
      if (other !== node) await command(other, ['CLUSTER', 'MEET', '127.0.0.1', String(node.port), String(busPort)])
    }
  }
  for (const node of nodes) {
    await untilInfo(node, '', new RegExp(`cluster_state:ok[^]*cluster_known_nodes:${nodes.length}\\r`), [
      'CLUSTER',
      'INFO',
    ])
  }
  const ids = await Promise.all(nodes.slice(0, masters).map((node) => command(node, ['CLUSTER', 'MYID'])))
  for (const [i, replica] of nodes.slice(masters).entries()) {
    await command(replica, ['CLUSTER', 'REPLICATE', String(ids[i % masters])])
  }
  for (const replica of nodes.slice(masters)) await untilInfo(replica, 'replication', /master_link_status:up/)
}

async function command(server: Server, args: string[]): Promise<unknown> {
  const client = createClient({ url: server.url, RESP: 2 })
  await client.connect()
  try {
    return await client.sendCommand(args)
  } finally {
    client.destroy()
  }
}

async function untilInfo(server: Server, section: string, sign: RegExp, args = ['INFO', section]): Promise<void> {
  const until = Date.now() + 20_000
  while (!sign.test(String(await command(server, args)))) {
    if (Date.now() > until) throw new Error(`${server.url} did not come to ${sign.source}`)
    // Redis has no event for this; 20 ms between two looks.
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
