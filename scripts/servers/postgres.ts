// PostgreSQL for tests.
import { spawn, spawnSync } from 'node:child_process'
import { chownSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { borrowed, findProgram, freePort, tended, unprivileged, type Server } from './server.ts'

/** One PostgreSQL server with an empty database. It survives `kill()` and crashes of its own, not a crash of the machine. */
export async function startPostgres(): Promise<Server> {
  const shared = borrowed('POSTGRES_URL', 5432)
  if (shared !== null) return shared
  const needed = { package: 'postgresql', variable: 'POSTGRES_URL', folders: '/usr/lib/postgresql/*/bin' }
  const bin = dirname(findProgram('initdb', needed))
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-postgres-'))
  // It refuses to run as root.
  const user = unprivileged('postgres')
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
