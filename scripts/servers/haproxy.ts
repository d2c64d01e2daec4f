// HAProxy for tests.
import { spawn } from 'node:child_process'
import { findProgram, freePort, listening, tended, type Server } from './server.ts'

/**
 * HAProxy with a configuration file as it is shipped, which binds to `127.0.0.1:"${PORT}"`; `env` gives the other variables that the
 * file names. What the file loads is found from the file's own folder if it says `default-path config`.
 */
export async function startHaproxy(
  config: string,
  env: Readonly<Record<string, string>> = {},
  port?: number,
): Promise<Server> {
  const program =
    process.env['HAPROXY_PATH'] || findProgram('haproxy', { package: 'haproxy', variable: 'HAPROXY_PATH' })
  const own = port ?? (await freePort())
  const child = spawn(program, ['-db', '-f', config], {
    env: { ...process.env, ...env, PORT: String(own) },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  return tended(child, { url: `http://127.0.0.1:${own}`, port: own, folder: null, ...listening(child, own) })
}
