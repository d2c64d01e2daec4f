// PostgreSQL for tests: one server, or a primary with a standby.
import { spawn, spawnSync } from 'node:child_process'
import { chownSync, mkdtempSync, readFileSync, realpathSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Client } from 'pg'
import { borrowed, findProgram, onFreePort, tended, unprivileged, type Server } from './server.ts'

export interface PostgresOptions {
  /** `0`, the default: a free one. Give that of another server to take its place. */
  port?: number | undefined
  /** That of a killed server, to start it again with its data. Default: a new one. */
  folder?: string | undefined
  /** As in postgresql.conf. */
  settings?: Readonly<Record<string, string>> | undefined
}

export interface Postgres extends Server {
  readonly folder: string
}

/** One PostgreSQL server with an empty database. It survives `kill()` and crashes of its own, not a crash of the machine. */
export async function startPostgres(o: PostgresOptions = {}): Promise<Postgres> {
  const shared = borrowed('POSTGRES_URL', 5432)
  if (shared !== null) return { ...shared, folder: '' }
  const folder = o.folder ?? newFolder()
  if (o.folder === undefined)
    run('initdb', folder, ['-D', folder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'])
  return launch(folder, o)
}

export interface PostgresPair {
  readonly primary: Server
  /** Streams from the primary and answers reads. */
  readonly standby: Server
  /** Makes the standby a primary, and resolves when it takes writes. What the old one does is not its business. */
  promote(): Promise<void>
  stop(): Promise<void>
}

/** Both ready and in step; a commit waits for the standby unless `synchronous` is `false`. Never those of POSTGRES_URL. */
export async function startPostgresPair(o: { synchronous?: boolean | undefined } = {}): Promise<PostgresPair> {
  const names = o.synchronous === false ? '' : 'standby'
  const started: Server[] = []
  const stop = async () => void (await Promise.all(started.map((server) => server.stop())))
  try {
    const first = newFolder()
    run('initdb', first, ['-D', first, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'])
    const primary = await launch(first, { settings: { synchronous_standby_names: names } })
    started.push(primary)
    const second = newFolder()
    const from = `host=127.0.0.1 port=${primary.port} user=postgres application_name=standby`
    run('pg_basebackup', second, ['-D', second, '-d', from, '-R', '-X', 'stream', '-c', 'fast', '--no-sync'])
    const standby = await launch(second, {})
    started.push(standby)
    const streaming = `SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1`
    while ((await ask(primary, streaming, [names === '' ? 'async' : 'sync'])) === 0);
    const promote = async () => void (await ask(standby, 'SELECT pg_promote(true, 30)'))
    return { primary, standby, promote, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function launch(folder: string, o: PostgresOptions): Promise<Postgres> {
  return onFreePort(o.port, (port) => launchOn(port, folder, o))
}

async function launchOn(port: number, folder: string, o: PostgresOptions): Promise<Postgres> {
  const settings = { fsync: 'off', listen_addresses: '127.0.0.1', unix_socket_directories: folder, ...o.settings }
  const child = spawn(
    program('postgres'),
    [
      '-D',
      folder,
      '-p',
      String(port),
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    { ...unprivileged('postgres'), cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const ready = /ready to accept (read.only )?connections/
  const server = await tended(child, { url, port, folder, output: child.stderr, ready })
  // Each connection has a process of its own. While the first stands still none comes, nor is one that ended forgotten.
  const signalOthers = (name: NodeJS.Signals) => {
    const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8').trim().split(' ')
    for (const pid of children) process.kill(Number(pid), name)
  }
  return {
    ...server,
    folder,
    pause() {
      server.pause()
      signalOthers('SIGSTOP')
    },
    resume() {
      signalOthers('SIGCONT')
      server.resume()
    },
  }
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-postgres-'))
  // It refuses to run as root.
  const user = unprivileged('postgres')
  if (user !== null) chownSync(folder, user.uid, user.gid)
  return folder
}

function program(name: string): string {
  const needed = { package: 'postgresql', variable: 'POSTGRES_URL', folders: '/usr/lib/postgresql/*/bin' }
  return join(dirname(realpathSync(findProgram('initdb', needed))), name)
}

function run(name: string, folder: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(program(name), args, {
    ...unprivileged('postgres'),
    cwd: folder,
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`${name} failed: ${stderr}`)
}

/** How many rows come back. */
async function ask({ url }: Server, text: string, values: unknown[] = []): Promise<number> {
  const client = new Client(url)
  await client.connect()
  try {
    return (await client.query(text, values)).rowCount ?? 0
  } finally {
    await client.end()
  }
}
