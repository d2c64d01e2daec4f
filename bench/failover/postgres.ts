// PostgreSQL on two hosts, a primary and a synchronous standby, behind one address. Promotion, the move of the address and the fence around
// the old primary are the work of a tool such as Patroni; here it is this file that does it, a second after the fault.
import { execFile } from 'node:child_process'
import { appendFileSync, chownSync, mkdtempSync, realpathSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { postgresFeed, postgresFeedSchema } from 'holdfast/feeds/postgres'
import { postgresStore, postgresStoreSchema } from 'holdfast/stores/postgres'
import { Client, Pool } from 'pg'
import { findProgram, unprivileged, type Server } from '../../scripts/servers/server.ts'
import { clock, since, type Engine } from './engine.ts'
import { startHost, type Host } from './network.ts'

/** Of whoever is primary. */
const shared = '198.18.0.100'
const port = 5432
/** How long a primary may be silent. The default of Patroni's lease is 30 s. */
const silentMs = 1_000

const settings = ['asynchronous', 'synchronous', 'synchronous, feed']

interface Machine {
  readonly host: Host
  server: Server
}

export async function postgres(): Promise<Engine> {
  const user = unprivileged('postgres')!
  const run = (name: string, args: string[]) =>
    promisify(execFile)(program(name), args, { uid: user.uid, gid: user.gid, cwd: '/' })

  function newFolder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-failover-'))
    chownSync(folder, user.uid, user.gid)
    return folder
  }

  function launch(host: Host, folder: string): Promise<Server> {
    const values = { fsync: 'off', listen_addresses: '*', port: String(port), unix_socket_directories: '' }
    const args = ['-D', folder, ...Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
    const url = `postgres://postgres@${host.address}:${port}/postgres`
    const ready = /ready to accept (read.only )?connections/
    return host.run(program('postgres'), args, { url, port, folder, ready, says: 'stderr', user })
  }

  async function first(host: Host): Promise<Machine> {
    const folder = newFolder()
    await run('initdb', ['-D', folder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'])
    appendFileSync(join(folder, 'pg_hba.conf'), 'host all,replication all 198.18.0.0/24 trust\n')
    const server = await launch(host, folder)
    host.take(shared)
    return { host, server }
  }

  /** A copy of the primary that follows it, and that its commits wait for. */
  async function standbyOf(primary: Machine, host: Host): Promise<Machine> {
    const folder = newFolder()
    const from = `host=${primary.host.address} port=${port} user=postgres application_name=standby`
    await run('pg_basebackup', ['-D', folder, '-d', from, '-R', '-X', 'stream', '-c', 'fast', '--no-sync'])
    const server = await launch(host, folder)
    await synchronous(primary, 'standby')
    const streaming = `SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'`
    await since('the standby', async () => (await ask(primary, streaming)) > 0)
    return { host, server }
  }

  async function synchronous(primary: Machine, names: string): Promise<void> {
    await ask(primary, `ALTER SYSTEM SET synchronous_standby_names = '${names}'`)
    await ask(primary, 'SELECT pg_reload_conf()')
  }

  let primary = await first(await startHost(1))
  let standby = await standbyOf(primary, await startHost(2))
  const { stdout: version } = await run('postgres', ['--version'])

  function pool(setting: string): Pool {
    const one = new Pool({
      host: shared,
      port,
      user: 'postgres',
      database: 'postgres',
      max: 10,
      connectionTimeoutMillis: 2_000,
      keepAlive: true,
      // Without waiting for the standby: it gets what was committed a moment later.
      ...(setting === 'asynchronous' ? { options: '-c synchronous_commit=local' } : {}),
    })
    return one.on('error', () => {})
  }

  async function promote(struck: Machine): Promise<() => number> {
    await sleep(silentMs)
    // The fence: it loses the address before anybody else has it.
    struck.host.drop(shared)
    await ask(standby, 'SELECT pg_promote(true, 30)')
    await synchronous(standby, '')
    const at = clock()
    standby.host.take(shared)
    ;[primary, standby] = [standby, struck]
    return () => at
  }

  return {
    version: `PostgreSQL ${/\d+\.\d+/.exec(version)?.[0]}`,
    settings,
    apart: false,
    async connect(setting, space) {
      const one = pool(setting)
      const table = `${space}_sessions`
      await one.query(postgresStoreSchema(table))
      const feedTable = `${space}_feed`
      await one.query(postgresFeedSchema(feedTable))
      return {
        store: postgresStore(one, { table }),
        feed: setting.endsWith('feed') ? postgresFeed(one, { table: feedTable }) : null,
        close: () => void one.end(),
      }
    },
    async plain() {
      const one = new Pool({
        host: shared,
        port,
        user: 'postgres',
        database: 'postgres',
        max: 2,
        connectionTimeoutMillis: 2_000,
        query_timeout: 500,
      })
      one.on('error', () => {})
      await one.query('CREATE TABLE IF NOT EXISTS plain (at float8)')
      return { write: () => one.query('INSERT INTO plain VALUES ($1)', [clock()]), close: () => void one.end() }
    },
    async strike(fault) {
      const struck = primary
      const at = clock()
      if (fault === 'kill') await struck.server.kill()
      else if (fault === 'cut') struck.host.cut()
      else struck.host.isolate([standby.host])
      return {
        at,
        promotedAt: promote(struck),
        async heal() {
          struck.host.join()
          // For a while there are two primaries, of which one has the address.
          await sleep(500)
          await struck.server.stop()
          standby = await standbyOf(primary, struck.host)
        },
      }
    },
    async stop() {
      for (const { server, host } of [primary, standby]) {
        await server.stop()
        host.stop()
      }
    },
  }
}

function program(name: string): string {
  const needed = { package: 'postgresql', variable: 'POSTGRES_URL', folders: '/usr/lib/postgresql/*/bin' }
  return join(dirname(realpathSync(findProgram('initdb', needed))), name)
}

/** How many rows come back. */
async function ask({ server }: Machine, text: string): Promise<number> {
  const client = new Client({
    connectionString: server.url,
    connectionTimeoutMillis: 1_000,
    options: '-c synchronous_commit=local',
  })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text)).rowCount ?? 0
  } finally {
    await client.end()
  }
}
