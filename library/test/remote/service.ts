// The session service as its users run it: in a process of its own, here with its memory or on Redis.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startHoldfast } from '../../../scripts/servers/holdfast.ts'
import type { Server } from '../../../scripts/servers/server.ts'

const main = join(import.meta.dirname, '../../../service/src/main.ts')

export const clientId = 'admin'
export const clientSecret = 'the-admin-secret-of-these-tests-which-is-long'

/** `port`: default a free one. */
export function startService(o: { store: string; port?: number; env?: Record<string, string> }): Promise<Server> {
  const own = {
    HOLDFAST_ADMIN_SECRET: clientSecret,
    HOLDFAST_SECRET: 'a-secret-for-the-keys-of-these-tests',
    HOLDFAST_STORE: o.store,
    HOLDFAST_LOG: 'warn',
  }
  return startHoldfast({ ...own, ...o.env }, o.port)
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

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const giveUpAt = performance.now() + 20_000; !(await holds());) {
    if (performance.now() > giveUpAt) throw new Error(`waited in vain for: ${String(holds)}`)
    await sleep(5)
  }
}
