// The session service as its users run it: in a process of its own, here with its memory or on Redis.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../../scripts/servers/server.ts'

const main = join(import.meta.dirname, '../../../service/src/main.ts')

export const clientId = 'admin'
export const clientSecret = 'the-admin-secret-of-these-tests-which-is-long'

export interface ServedProcess {
  readonly url: string
  readonly port: number
  /** Stops answering, with connections open (SIGSTOP). */
  pause(): void
  /** Answers again (SIGCONT). */
  resume(): void
  /** `kill -9`, and waits until it is gone. */
  kill(): Promise<void>
}

/** `port`: default a free one. */
export async function startService(o: {
  store: string
  port?: number
  env?: Record<string, string>
}): Promise<ServedProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-remote-'))
  const port = o.port ?? (await freePort())
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_'))
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--disable-warning=ExperimentalWarning', main, 'serve'],
    {
      env: {
        ...Object.fromEntries(own),
        HOLDFAST_PORT: String(port),
        HOLDFAST_DATA: folder,
        HOLDFAST_ADMIN_SECRET: clientSecret,
        HOLDFAST_SECRET: 'a-secret-for-the-keys-of-these-tests',
        HOLDFAST_STORE: o.store,
        HOLDFAST_LOG: 'warn',
        ...o.env,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const exited = once(child, 'exit')
  let err = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text
      if (/ready at http:/.test(err)) resolve()
    })
    void exited.then(() => reject(new Error(`the service did not start: ${err}`)))
  })
  child.unref()
  ;(child.stderr as Socket).unref()
  const killAtExit = () => child.kill('SIGKILL')
  process.once('exit', killAtExit)
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async kill() {
      process.off('exit', killAtExit)
      child.ref()
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await exited
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A client with some permissions, by the command, on the store that the service is on. */
export function addClient(
  store: string,
  id: string,
  permissions: string,
): { readonly clientId: string; readonly clientSecret: string } {
  // Settings of the tests themselves are none of the service's.
  const others = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_')))
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--conditions=source', main, 'clients', 'add', id, '--permissions', permissions],
    { env: { ...others, HOLDFAST_STORE: store, HOLDFAST_ADMIN_SECRET: clientSecret }, encoding: 'utf8' },
  )
  const secret = /[\w-]{43}/.exec(stdout)?.[0]
  assert.ok(secret !== undefined, stdout + stderr)
  return { clientId: id, clientSecret: secret }
}
