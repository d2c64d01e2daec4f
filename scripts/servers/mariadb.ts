// MariaDB for tests: one server with an empty database.
import { spawn, spawnSync } from 'node:child_process'
import { chownSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { borrowed, findProgram, onFreePort, tended, unprivileged, type Server } from './server.ts'

export interface MariadbOptions {
  /** `0`, the default: a free one. Give the old one to start a killed server again. */
  port?: number | undefined
  /** That of a killed server, to start it again with its data; it goes with that server's `stop()`. Default: a new one. */
  folder?: string | undefined
  /** As on the command line, without the dashes. */
  settings?: Readonly<Record<string, string>> | undefined
}

export interface Mariadb extends Server {
  readonly folder: string
}

const needed = { package: 'mariadb-server', variable: 'MYSQL_URL' }

/** Small and quick to start. Its commits survive `kill()` and crashes of its own, not a crash of the machine. */
const small = {
  'innodb-flush-log-at-trx-commit': '2',
  'innodb-flush-method': 'nosync',
  'innodb-log-file-size': '16M',
  'innodb-buffer-pool-size': '64M',
  'skip-log-bin': '1',
  'skip-name-resolve': '1',
}

/** One MariaDB server with the database `holdfast`, where `root`, without a password, may do everything. */
export async function startMariadb(o: MariadbOptions = {}): Promise<Mariadb> {
  const shared = borrowed('MYSQL_URL', 3306)
  if (shared !== null) return { ...shared, folder: '' }
  // It refuses to run as root.
  const user = unprivileged('mysql')
  const folder = o.folder ?? mkdtempSync(join(tmpdir(), 'holdfast-mariadb-'))
  if (o.folder === undefined) {
    if (user !== null) chownSync(folder, user.uid, user.gid)
    const init = [
      '--no-defaults',
      ...asArguments(placesIn(folder)),
      '--auth-root-authentication-method=normal',
      '--skip-test-db',
    ]
    const options = { ...user, cwd: folder, encoding: 'utf8' } as const
    const program = findProgram('mariadb-install-db', needed)
    const { status, stderr } = spawnSync(program, [...init, ...asArguments(small)], options)
    if (status !== 0) throw new Error(`mariadb-install-db failed: ${stderr}`)
    writeFileSync(join(folder, 'init.sql'), 'CREATE DATABASE IF NOT EXISTS holdfast;\n')
  }
  return onFreePort(o.port, (port) => launch(port, folder, o))
}

async function launch(port: number, folder: string, o: MariadbOptions): Promise<Mariadb> {
  const settings = {
    ...placesIn(folder),
    port: String(port),
    'bind-address': '127.0.0.1',
    socket: join(folder, 'socket'),
    'init-file': join(folder, 'init.sql'),
    ...small,
    ...o.settings,
  }
  const child = spawn(findProgram('mariadbd', needed), ['--no-defaults', ...asArguments(settings)], {
    ...unprivileged('mysql'),
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const url = `mysql://root@127.0.0.1:${port}/holdfast`
  const temporary = o.folder === undefined ? folder : null
  const ready = /ready for connections/
  return { ...(await tended(child, { url, port, folder: temporary, output: child.stderr, ready })), folder }
}

/** A server that starts clears its folder of temporary files, so each has its own. */
function placesIn(folder: string): Readonly<Record<string, string>> {
  return { datadir: folder, tmpdir: folder }
}

function asArguments(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).map(([name, value]) => `--${name}=${value}`)
}
