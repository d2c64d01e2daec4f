// The session service for tests: the command that users run, from its sources.
import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, tended, type Server } from './server.ts'

const main = join(import.meta.dirname, '../../service/src/main.ts')

/** `holdfast serve` in a process of its own, with these settings and none of whoever runs the tests. */
export async function startHoldfast(settings: Readonly<Record<string, string>>, port?: number): Promise<Server> {
  const own = port ?? (await freePort())
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-serve-'))
  const env = { ...process.env }
  for (const name of Object.keys(env)) if (name.startsWith('HOLDFAST_')) delete env[name]
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--disable-warning=ExperimentalWarning', main, 'serve'],
    {
      env: { ...env, HOLDFAST_DATA: folder, HOLDFAST_PORT: String(own), ...settings },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const url = `http://127.0.0.1:${own}`
  return tended(child, { url, port: own, folder, output: child.stderr, ready: /ready at http/ })
}
