// The lines that `holdfast serve` prints do what they promise when they are pasted into bash, in order.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { adminSecret, keepSecret, serve } from './service.ts'

async function paste(env: Record<string, string>, bashEnv: Record<string, string> = {}): Promise<void> {
  const service = await serve(env)
  const lines = service.welcome.split('\n').filter((line) => /^(A=\$\()?curl /.test(line))
  assert.equal(lines.length, 5)
  const { stdout, stderr, status } = spawnSync('bash', [], {
    input: `${lines.join('\n')}\n`,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], ...bashEnv },
  })
  assert.deepEqual([status, stderr], [0, ''])
  const [started, verified, written, listed, ended, refused] = stdout.trimEnd().split('\n') as [string, ...string[]]
  const { session, token } = JSON.parse(started) as { session: { id: string }; token: string }
  keepSecret(token)
  assert.deepEqual(JSON.parse(verified!), { active: true, session })
  assert.equal(written, 'data written: 201')
  assert.equal(JSON.parse(listed!).sessions[0].id, session.id)
  assert.equal(ended, 'ended: 204')
  assert.deepEqual(JSON.parse(refused!), { active: false, reason: 'ended' })
  assert.equal(await service.end(), 0)
}

it('with the secret that was made, in a folder with an awkward name', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'holdfast-curl-'))
  const folder = join(parent, "it's a $folder")
  await paste({ HOLDFAST_DATA: folder })
  keepSecret(readFileSync(join(folder, 'admin-secret'), 'utf8').trim())
  rmSync(parent, { recursive: true })
})

it('with the secret of the environment', async () => {
  await paste({ HOLDFAST_STORE: 'memory:', HOLDFAST_ADMIN_SECRET: adminSecret }, { HOLDFAST_ADMIN_SECRET: adminSecret })
})
