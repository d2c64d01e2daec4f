// Memcached for tests.
import { spawn } from 'node:child_process'
import { borrowed, findProgram, listening, onFreePort, tended, unprivileged, type Server } from './server.ts'

export interface MemcachedOptions {
  /** `0`, the default: a free one. Give the old one to start a killed server again. */
  port?: number | undefined
  /** More of the command line: `['-m', '16']`. */
  flags?: readonly string[] | undefined
}

/** One Memcached that evicts nothing (`-M`). Its `url` is `memcached://<host>:<port>`. */
export async function startMemcached(o: MemcachedOptions = {}): Promise<Server> {
  const shared = borrowed('MEMCACHED_URL', 11_211)
  if (shared !== null) return shared
  const program = findProgram('memcached', { package: 'memcached', variable: 'MEMCACHED_URL' })
  return onFreePort(o.port, (port) => launch(program, port, o.flags ?? []))
}

async function launch(program: string, port: number, flags: readonly string[]): Promise<Server> {
  const own = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-M']
  const child = spawn(program, [...own, ...flags], { ...unprivileged('nobody'), stdio: 'ignore' })
  return tended(child, { url: `memcached://127.0.0.1:${port}`, port, folder: null, ...listening(child, port) })
}
