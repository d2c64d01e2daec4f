// Real engines for tests: on free ports, with their data in a temporary folder, and gone when the test process is gone.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createClient } from 'redis'

/** A running server process. With `REDIS_URL` or `POSTGRES_URL` set it is somebody else's: `pid` is 0 and only `stop()` may be called. */
export interface Server {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Ends it, waits for that, and removes its data. Calling it again is harmless. */
  stop(): Promise<void>
  /** `kill -9`, and waits until it is gone. Its data stays until `stop()`. */
  kill(): Promise<void>
  /** Stops answering, with connections open (SIGSTOP). */
  pause(): void
  /** Answers again (SIGCONT). */
  resume(): void
}

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
  const shared = process.env['REDIS_URL']
  if (shared !== undefined && shared !== '') return borrowed(shared)
  requireRedis()
  return startProcess(o, [])
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
  requireRedis()
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
  requireRedis()
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

/** One PostgreSQL server with an empty database. It survives `kill()` and crashes of its own, not a crash of the machine. */
export async function startPostgres(): Promise<Server> {
  const shared = process.env['POSTGRES_URL']
  if (shared !== undefined && shared !== '') return borrowed(shared)
  const bin = postgresFolder()
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-postgres-'))
  // It refuses to run as root.
  const user = process.getuid?.() === 0 ? postgresUser() : null
  if (user !== null) chownSync(folder, user.uid, user.gid)
  const init = ['-D', folder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync']
  const { status, stderr } = spawnSync(join(bin, 'initdb'), init, { ...user, cwd: folder, encoding: 'utf8' })
  if (status !== 0) throw new Error(`initdb failed: ${stderr}`)
  const port = await freePort()
  const settings = ['fsync=off', 'listen_addresses=127.0.0.1', `unix_socket_directories=${folder}`]
  const child = spawn(
    join(bin, 'postgres'),
    ['-D', folder, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    { ...user, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const server = await tended(child, { url, port, folder, output: child.stderr, ready: /ready to accept connections/ })
  // Each connection has a process of its own.
  const signal = (name: NodeJS.Signals) => {
    const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8').trim().split(' ')
    for (const pid of [server.pid, ...children.map(Number)]) process.kill(pid, name)
  }
  return { ...server, pause: () => signal('SIGSTOP'), resume: () => signal('SIGCONT') }
}

/** Debian keeps the server off the PATH. */
function postgresFolder(): string {
  const found = () =>
    [...globSync('/usr/lib/postgresql/*/bin'), ...(process.env['PATH'] ?? '').split(delimiter)].findLast((folder) =>
      existsSync(join(folder, 'initdb')),
    )
  if (found() === undefined && process.getuid?.() === 0 && existsSync('/etc/debian_version')) {
    spawnSync('apt-get', ['update'], { stdio: 'ignore' })
    spawnSync('apt-get', ['install', '-y', 'postgresql'], { stdio: 'ignore' })
  }
  const folder = found()
  if (folder === undefined) {
    throw new Error('postgres is needed: install it (apt-get install postgresql), or set POSTGRES_URL')
  }
  return folder
}

function postgresUser(): { uid: number; gid: number } {
  const [, , uid, gid] = /^postgres:.*$/m.exec(readFileSync('/etc/passwd', 'utf8'))?.[0].split(':') ?? []
  if (uid === undefined) throw new Error('the user postgres is needed')
  return { uid: Number(uid), gid: Number(gid) }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

function requireRedis(): void {
  const found = () =>
    (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'redis-server')))
  if (found()) return
  if (process.getuid?.() === 0 && existsSync('/etc/debian_version')) {
    spawnSync('apt-get', ['update'], { stdio: 'ignore' })
    spawnSync('apt-get', ['install', '-y', 'redis-server'], { stdio: 'ignore' })
  }
  if (!found()) throw new Error('redis-server is needed: install it (apt-get install redis-server), or set REDIS_URL')
}

function borrowed(url: string): Server {
  const refuse = () => {
    throw new Error(`the server at ${url.startsWith('redis') ? 'REDIS_URL' : 'POSTGRES_URL'} is not ours to disturb`)
  }
  return {
    url,
    port: Number(new URL(url).port || (url.startsWith('redis') ? 6379 : 5432)),
    pid: 0,
    stop: async () => {},
    kill: async () => refuse(),
    pause: refuse,
    resume: refuse,
  }
}

async function startProcess(o: RedisOptions, mode: readonly string[]): Promise<Server> {
  // Between finding a port and using it somebody else may take it.
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch(o.port || (await freePort()), o, mode)
    } catch (error) {
      if (o.port || attempt === 5) throw error
    }
  }
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

  const child = spawn('redis-server', [config, ...mode], { stdio: ['ignore', 'pipe', 'ignore'] })
  const ready = mode.length > 0 ? /\+monitor|Sentinel ID/ : /Ready to accept connections/
  const url = `redis://127.0.0.1:${port}`
  const temporary = o.folder === undefined ? folder : null
  return tended(child, { url, port, folder: temporary, output: child.stdout, ready })
}

interface Launched {
  readonly url: string
  readonly port: number
  /** To be removed in the end. */
  readonly folder: string | null
  readonly output: NodeJS.ReadableStream
  /** What it prints when it is ready. */
  readonly ready: RegExp
}

/** Waits until it is ready, and sees to it that it goes with us. */
async function tended(child: ChildProcess, o: Launched): Promise<Server> {
  const { url, port, folder, output, ready } = o
  const exited = once(child, 'exit')
  const pid = child.pid ?? 0
  const guard = guardAgainstOurDeath(pid, folder ?? '')
  try {
    await untilReady(child.spawnfile, output, exited, ready)
  } catch (error) {
    child.kill('SIGKILL')
    guard()
    throw error
  }
  unref(child)
  unref(output)

  let alive = true
  void exited.then(() => (alive = false))
  const kill = async () => {
    if (!alive) return
    process.kill(pid, 'SIGKILL')
    child.ref()
    await exited
  }
  return {
    url,
    port,
    pid,
    kill,
    async stop() {
      await kill()
      guard()
      if (folder !== null) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
    pause: () => void process.kill(pid, 'SIGSTOP'),
    resume: () => void process.kill(pid, 'SIGCONT'),
  }
}

/** A shell that waits for the end of our pipe, which comes even when we are killed. The answer calls it off. */
function guardAgainstOurDeath(pid: number, folder: string): () => void {
  const script = 'read -r _ || { kill -9 "$1"; [ -z "$2" ] || rm -rf "$2"; } 2>/dev/null'
  const guard = spawn('/bin/sh', ['-c', script, 'guard', String(pid), folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  unref(guard)
  unref(guard.stdin)
  return () => {
    if (!guard.stdin.writableEnded) guard.stdin.end('done\n')
  }
}

/** A test that forgets to stop a server still comes to its end. */
function unref(handle: object): void {
  if ('unref' in handle && typeof handle.unref === 'function') handle.unref()
}

async function untilReady(
  program: string,
  output: NodeJS.ReadableStream,
  exited: Promise<unknown>,
  sign: RegExp,
): Promise<void> {
  let seen = ''
  await Promise.race([
    new Promise<void>((resolve) => {
      output.on('data', (chunk: Buffer) => {
        if (sign.test(seen)) return
        seen += chunk.toString()
        if (sign.test(seen)) resolve()
      })
    }),
    exited.then(() => {
      throw new Error(`${program} did not start: ${seen.trim().split('\n').at(-1) ?? ''}`)
    }),
  ])
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
