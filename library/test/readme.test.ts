// The code in the README works as it stands there, and its types hold.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { freePort } from '../../scripts/servers/server.ts'

const root = join(import.meta.dirname, '../..')
let folder: string
let port: number

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-readme-'))
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  port = await freePort()
  const code = /```ts\n([\s\S]+?)```/.exec(readme)![1]!.replace('3000', String(port))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await writeFile(join(folder, 'readme.ts'), code)
  const tsconfig = {
    extends: join(root, 'tsconfig.json'),
    include: ['readme.ts'],
    compilerOptions: { lib: ['es2024'] },
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig))
})
after(() => rm(folder, { recursive: true }))

test('the types of the README’s code hold', async () => {
  await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', folder]).catch((error: { stdout: string }) => {
    assert.fail(error.stdout)
  })
})

test('the README’s code keeps a guest’s cart through sign-in and signs out', async (t) => {
  const server = spawn(process.execPath, ['--conditions=source', join(folder, 'readme.ts')], {
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  t.after(async () => {
    server.kill()
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
  })
  let cookie = ''
  const call = async (method: string, path: string, body?: object) => {
    const headers = { cookie, 'content-type': 'application/json', 'sec-fetch-site': 'same-origin' }
    const response = await retried(() =>
      fetch(`http://localhost:${port}${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) }),
    )
    cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
    return response
  }
  assert.equal((await call('GET', '/orders')).status, 401)
  assert.deepEqual(await (await call('POST', '/cart', { item: 'tea' })).json(), ['tea'])
  assert.deepEqual(await (await call('POST', '/sign-in', { user: 'ada' })).json(), { hello: 'ada' })
  assert.deepEqual(await (await call('POST', '/cart', { item: 'cup' })).json(), ['tea', 'cup'])
  assert.equal((await call('GET', '/orders')).status, 200)
  const signedIn = cookie
  assert.equal((await call('POST', '/sign-out')).status, 204)
  cookie = signedIn
  assert.equal((await call('GET', '/orders')).status, 401)
})

/** Until the server listens. */
async function retried(call: () => Promise<Response>): Promise<Response> {
  for (const until = performance.now() + 30_000; ;) {
    try {
      return await call()
    } catch (error) {
      if (performance.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }
}
