// Caddy for tests.
import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, freePort, listening, tended, type Server } from './server.ts'

/** Caddy with a Caddyfile as it is shipped, which listens on `{$PORT}`; `env` gives the other variables that the file names. */
export async function startCaddy(
  caddyfile: string,
  env: Readonly<Record<string, string>> = {},
  port?: number,
): Promise<Server> {
  const program = process.env['CADDY_PATH'] || findProgram('caddy', { package: 'caddy', variable: 'CADDY_PATH' })
  const own = port ?? (await freePort())
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-caddy-'))
  const child = spawn(program, ['run', '--config', caddyfile, '--adapter', 'caddyfile'], {
    env: { ...process.env, ...env, PORT: String(own), XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  return tended(child, { url: `http://127.0.0.1:${own}`, port: own, folder, ...listening(child, own) })
}
