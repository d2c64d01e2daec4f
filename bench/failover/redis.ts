// Redis on hosts that can be cut off: Sentinel with three hosts, and Cluster with six.
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { redisFeed, type RedisFeedClient } from 'holdfast/feeds/redis'
import { redisStore, type RedisStoreClient } from 'holdfast/stores/redis'
import { createClient, createCluster, createSentinel } from 'redis'
import type { Server } from '../../scripts/servers/server.ts'
import { clock, since, type Connection, type Engine, type Fault } from './engine.ts'
import { startHost, type Host } from './network.ts'

const name = 'holdfast'
const port = 6379
const sentinelPort = 26_379

/** How long a primary may be silent; the default is 15 s. */
const silentInClusterMs = 1_000
/**
 * The same under Sentinel, where the default is 30 s. Not less: a sentinel connects to a new primary up to a second after it heard of it, and with 1 s calls it
 * down just then; with the votes against the old one, which it still counts, it begins another failover (docs/failover.md).
 */
const silentUnderSentinelMs = 2_000

/** As docs/failover.md says that clients should be set up, and as the service's are. */
const socket = { connectTimeout: 1_000, socketTimeout: 3_000, reconnectStrategy: () => 100 }
const node = { disableOfflineQueue: true, pingInterval: 1_000, maintNotifications: 'disabled' as const }
const commandOptions = { timeout: undefined as never }

const settings = ['asynchronous', 'asynchronous, feed', 'durable', 'durable, feed', 'durable, feed, refuse']

interface Machine {
  readonly host: Host
  /** The last one runs. */
  readonly servers: Server[]
  start(): Promise<void>
}

export async function redisSentinel(): Promise<Engine> {
  const machines: Machine[] = []
  for (let n = 1; n <= 3; n++) {
    machines.push(await machine(n, n === 1 ? {} : { replicaof: `198.18.0.1 ${port}` }))
  }
  for (const { host } of machines.slice(1)) await since('a replica', () => info(host, /master_link_status:up/))
  const sentinels = await Promise.all(machines.map(({ host }) => sentinelOn(host, machines[0]!.host)))
  const isComplete = () =>
    eachHost(({ address }) => said(address, sentinelPort, ['INFO', 'sentinel'], /status=ok,.*slaves=2,sentinels=3/))
  await since('the sentinels', isComplete)

  function eachHost(isSo: (host: Host) => Promise<boolean>): Promise<boolean> {
    return Promise.all(machines.map(({ host }) => isSo(host))).then((all) => all.every(Boolean))
  }

  async function client(n: number) {
    const roots = machines.map((_, i) => machines[(i + n) % machines.length]!.host.address)
    const one = createSentinel({
      name,
      sentinelRootNodes: roots.map((host) => ({ host, port: sentinelPort })),
      nodeClientOptions: { ...node, socket },
      sentinelClientOptions: { ...node, socket },
      commandOptions,
      passthroughClientErrorEvents: true,
      reserveClient: true,
    })
    await one
      .on('error', () => {})
      .on('client-error', () => {})
      .connect()
    return one
  }

  return {
    version: await versionOf(machines[0]!.host),
    settings,
    // Looking for a primary, a client of node-redis makes others, which takes it some 50 ms of CPU a second.
    apart: true,
    connect: async (setting, space, n) => connection(await client(n), setting, space),
    async plain(n) {
      const one = await client(n)
      return { write: () => one.set('plain', String(clock())), close: () => void one.destroy() }
    },
    async strike(fault) {
      const address = await primaryOf(machines[0]!.host)
      const struck = machines.find(({ host }) => host.address === address)!
      const others = machines.filter((other) => other !== struck).map(({ host }) => host)
      const watches = await Promise.all(others.map((host) => switched(host)))
      const at = await strikeOne(struck, others, fault)
      return {
        at,
        promotedAt: Promise.race(watches.map(({ at }) => at.then((when) => () => when))).finally(() =>
          watches.forEach(({ close }) => close()),
        ),
        async heal() {
          await healOne(struck, fault)
          await since('the old primary as a replica', () => info(struck.host, /role:slave[^]*master_link_status:up/))
          await since('the sentinels', isComplete)
        },
      }
    },
    async stop() {
      await Promise.all([...sentinels, ...machines.flatMap(({ servers }) => servers)].map((one) => one.stop()))
      for (const { host } of machines) host.stop()
    },
  }
}

/** Three masters with a replica each, and a second one for the first, which is the one that is struck: a durable write needs one that is left. */
export async function redisCluster(): Promise<Engine> {
  const more = { 'cluster-enabled': 'yes', 'cluster-node-timeout': String(silentInClusterMs) }
  const machines = await Promise.all(Array.from({ length: 7 }, (_, i) => machine(i + 1, more)))
  const masters = machines.slice(0, 3)
  for (const [i, { host }] of masters.entries()) {
    const share = (n: number) => String(Math.round((n * 16_384) / masters.length))
    await ask(host.address, port, ['CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1)])
    await ask(host.address, port, ['CLUSTER', 'ADDSLOTSRANGE', share(i), String(Number(share(i + 1)) - 1)])
  }
  for (const { host } of machines) {
    for (const other of machines) {
      if (other.host !== host) await ask(host.address, port, ['CLUSTER', 'MEET', other.host.address, String(port)])
    }
  }
  const ofFirst = [0, 3, 6].map((i) => machines[i]!.host)
  const isWhole = async () => {
    const all = machines.map(({ host }) => said(host.address, port, ['CLUSTER', 'INFO'], /state:ok[^]*known_nodes:7\r/))
    return (await Promise.all(all)).every(Boolean)
  }
  await since('the cluster', isWhole)
  for (const [i, { host }] of machines.slice(3).entries()) {
    const id = await ask(masters[i % masters.length]!.host.address, port, ['CLUSTER', 'MYID'])
    await ask(host.address, port, ['CLUSTER', 'REPLICATE', String(id)])
    await since('a replica', () => info(host, /master_link_status:up/))
  }

  async function client(n: number) {
    const one = createCluster({
      rootNodes: machines.map((_, i) => ({
        url: `redis://${machines[(i + n) % machines.length]!.host.address}:${port}`,
      })),
      defaults: { ...node, socket },
      topologyRefreshOnReconnectionAttemptStrategy: 200,
      commandOptions,
    })
    await one.on('error', () => {}).connect()
    return one
  }

  return {
    version: await versionOf(machines[0]!.host),
    settings,
    apart: false,
    connect: async (setting, space, n) => connection(await client(n), setting, space),
    async plain(n) {
      const one = await client(n)
      const key = await keyOn(await primaryOf(machines[0]!.host))
      return { write: () => one.set(key, String(clock())), close: () => one.destroy() }
    },
    /** Of the one that has the slots of the first. */
    async strike(fault) {
      const address = await primaryOf(machines[0]!.host)
      const struck = machines.find(({ host }) => host.address === address)!
      const others = machines.filter((other) => other !== struck).map(({ host }) => host)
      const at = await strikeOne(struck, others, fault)
      return {
        at,
        promotedAt: since('a new primary', async () => {
          const some = others.filter((host) => ofFirst.includes(host)).map((host) => info(host, /role:master/))
          return (await Promise.all(some)).some(Boolean)
        }).then((when) => () => when),
        async heal() {
          await healOne(struck, fault)
          await since('the old primary as a replica', () => info(struck.host, /role:slave[^]*master_link_status:up/))
          await since('the cluster', isWhole)
        },
      }
    },
    async stop() {
      await Promise.all(machines.flatMap(({ servers }) => servers).map((server) => server.stop()))
      for (const { host } of machines) host.stop()
    },
  }

  /** A key of the shard that will be struck. */
  async function keyOn(address: string): Promise<string> {
    for (let i = 0; ; i++) {
      const isThere = await ask(address, port, ['GET', `plain${i}`]).then(
        () => true,
        () => false,
      )
      if (isThere) return `plain${i}`
    }
  }
}

function connection(
  client: RedisStoreClient & RedisFeedClient & { destroy(): unknown },
  setting: string,
  space: string,
): Connection {
  const durability = setting.startsWith('durable') ? { durability: { replicas: 1 } } : {}
  return {
    store: redisStore(client, { prefix: `${space}:`, ...durability }),
    feed: setting.includes('feed') ? redisFeed(client, { key: `${space}:feed`, ...durability }) : null,
    ...(setting.endsWith('refuse') ? { whenStale: 'refuse' as const } : {}),
    close: () => void client.destroy(),
  }
}

async function machine(n: number, more: Readonly<Record<string, string>>): Promise<Machine> {
  const host = await startHost(n)
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-failover-'))
  const config = join(folder, 'redis.conf')
  const lines = {
    port: String(port),
    bind: host.address,
    'protected-mode': 'no',
    dir: folder,
    save: '""',
    appendonly: 'yes',
    'repl-diskless-sync-delay': '0',
    ...more,
  }
  writeFileSync(config, text(lines))
  const url = `redis://${host.address}:${port}`
  const ready = /Ready to accept connections/
  const servers: Server[] = []
  const start = async () =>
    void servers.push(await host.run('redis-server', [config], { url, port, folder, ready, says: 'stdout' }))
  await start()
  return { host, servers, start }
}

function sentinelOn(host: Host, primary: Host): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-failover-'))
  const config = join(folder, 'sentinel.conf')
  const lines = {
    port: String(sentinelPort),
    bind: host.address,
    'protected-mode': 'no',
    dir: folder,
    'sentinel monitor': `${name} ${primary.address} ${port} 2`,
    'sentinel down-after-milliseconds': `${name} ${silentUnderSentinelMs}`,
    'sentinel failover-timeout': `${name} ${4 * silentUnderSentinelMs}`,
    'sentinel parallel-syncs': `${name} 2`,
  }
  writeFileSync(config, text(lines))
  const url = `redis://${host.address}:${sentinelPort}`
  return host.run('redis-server', [config, '--sentinel'], {
    url,
    port: sentinelPort,
    folder,
    ready: /\+monitor/,
    says: 'stdout',
  })
}

function text(lines: Readonly<Record<string, string>>): string {
  return Object.entries(lines)
    .map(([key, value]) => `${key} ${value}\n`)
    .join('')
}

async function strikeOne({ host, servers }: Machine, others: readonly Host[], fault: Fault): Promise<number> {
  const at = clock()
  if (fault === 'kill') await servers.at(-1)!.kill()
  else if (fault === 'cut') host.cut()
  else host.isolate(others)
  return at
}

async function healOne(struck: Machine, fault: Fault): Promise<void> {
  if (fault === 'kill') await struck.start()
  else struck.host.join()
}

/** Follows what a sentinel says; `at` is when it said that there is another primary. */
async function switched({ address }: Host): Promise<{ at: Promise<number>; close(): void }> {
  const client = createClient({ url: `redis://${address}:${sentinelPort}` })
  await client.on('error', () => {}).connect()
  const told = Promise.withResolvers<number>()
  await client.subscribe('+switch-master', () => told.resolve(clock()))
  return { at: told.promise, close: () => client.destroy() }
}

/** The address of who is primary, as one of its servers says; of a Cluster, of this server's slots. */
async function primaryOf({ address }: Host): Promise<string> {
  const role = (await ask(address, port, ['ROLE'])) as [string, string]
  return role[0] === 'master' ? address : role[1]
}

async function versionOf({ address }: Host): Promise<string> {
  const server = String(await ask(address, port, ['INFO', 'server']))
  return `Redis ${/^redis_version:(.+)$/m.exec(server)?.[1]?.trim() ?? ''}`
}

function info({ address }: Host, sign: RegExp): Promise<boolean> {
  return said(address, port, ['INFO', 'replication'], sign)
}

async function said(address: string, at: number, args: string[], sign: RegExp): Promise<boolean> {
  return sign.test(String(await ask(address, at, args)))
}

/** Rejects when there is no answer within a second. */
async function ask(address: string, at: number, args: string[]): Promise<unknown> {
  const client = createClient({
    RESP: 2,
    socket: { host: address, port: at, connectTimeout: 1_000, socketTimeout: 1_000, reconnectStrategy: false },
  })
  client.on('error', () => {})
  try {
    await client.connect()
    return await client.sendCommand(args)
  } finally {
    if (client.isOpen) client.destroy()
  }
}
