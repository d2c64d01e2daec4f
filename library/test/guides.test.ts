// The code in the guides works as it stands there, and its types hold: all blocks of a guide are one program.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'holdfast-guides-'))
after(() => rmSync(folder, { recursive: true }))
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
copyFileSync(join(root, 'library/test/adapters/orders.proto'), join(folder, 'orders.proto'))
writeFileSync(join(folder, 'package.json'), '{"type":"module"}')

/** Writes the guide's program as it stands there. */
function written(guide: string): string {
  const blocks = readFileSync(join(root, 'docs/guide', guide), 'utf8').matchAll(/```ts\n([\s\S]+?)```/g)
  const file = join(folder, guide.replace('.md', '.ts'))
  writeFileSync(file, [...blocks].map(([, block]) => block).join('\n'))
  return file
}

/** The same on free ports, telling which. `more` goes on with what the guide made. */
function program(guide: string, more: string): string {
  const file = written(guide)
  const code = readFileSync(file, 'utf8')
    .replace(
      /(\.listen\()3000, 'localhost'\)/,
      "$10, 'localhost').on('listening', function () { console.log(this.address().port) })",
    )
    .replace(
      /await (\w+)\.listen\(\{ port: 3000, host: 'localhost' \}\)/,
      "await $1.listen({ port: 0, host: 'localhost' }); console.log($1.server.address().port)",
    )
  writeFileSync(file, `${code}\n${more}`)
  return file
}

const guides = [
  'getting-started.md',
  'express.md',
  'frameworks.md',
  'sockets.md',
  'tokens.md',
  'revocation.md',
  'connecting.md',
  'chain.md',
  'own-store.md',
  'sticky.md',
  'migrate.md',
]
for (const guide of guides) {
  test(`the types of ${guide} hold`, async () => {
    const file = written(guide)
    const typed = file.replace('.ts', '.json')
    const include = [file]
    const compilerOptions = { lib: ['es2024'], noUnusedLocals: false }
    writeFileSync(typed, JSON.stringify({ extends: join(root, 'tsconfig.json'), include, compilerOptions }))
    await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', typed]).catch((error: { stdout: string }) => {
      assert.fail(error.stdout)
    })
  })
}

for (const page of ['stores.md', 'feeds.md']) {
  test(`each block of ${page} is whole, and its types hold`, async () => {
    const place = join(folder, page.replace('.md', ''))
    mkdirSync(place)
    const blocks = readFileSync(join(root, 'docs', page), 'utf8').matchAll(/```ts\n([\s\S]+?)```/g)
    for (const [i, [, block]] of [...blocks].entries()) writeFileSync(join(place, `${i}.ts`), block!)
    const compilerOptions = { lib: ['es2024'], noUnusedLocals: false }
    const config = { extends: join(root, 'tsconfig.json'), include: ['*.ts'], compilerOptions }
    writeFileSync(join(place, 'tsconfig.json'), JSON.stringify(config))
    await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', place]).catch((error: { stdout: string }) => {
      assert.fail(error.stdout)
    })
  })
}

test('the types of the files in frameworks.md hold', async () => {
  // Decorators, which plain type stripping can't, and files whose names mean something. Each block says which one it is.
  const blocks = readFileSync(join(root, 'docs/guide/frameworks.md'), 'utf8').matchAll(
    /```(?:ts|typescript)\n(\/\/ (.+)\n[^]+?)```/g,
  )
  const place = join(folder, 'frameworks')
  for (const [, code, path] of blocks) {
    mkdirSync(dirname(join(place, path!)), { recursive: true })
    writeFileSync(join(place, path!), code!)
  }
  const compilerOptions = {
    lib: ['es2024', 'dom'],
    module: 'esnext',
    moduleResolution: 'bundler',
    experimentalDecorators: true,
    erasableSyntaxOnly: false,
    noUnusedLocals: false,
  }
  const config = { extends: join(root, 'tsconfig.json'), include: ['**/*.ts'], compilerOptions }
  writeFileSync(join(place, 'tsconfig.json'), JSON.stringify(config))
  await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', place]).catch((error: { stdout: string }) => {
    assert.fail(error.stdout)
  })
})

/** Runs a guide's program; what it prints beside its port goes to `printed`. */
async function running(t: TestContext, guide: string, more = '') {
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--disable-warning=ExperimentalWarning', program(guide, more)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_ENV: 'test' },
    },
  )
  t.after(async () => {
    child.kill()
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  const printed: string[] = []
  const lines = createInterface(child.stdout)
  lines.on('line', (line) => printed.push(line))
  while (!printed.some((line) => /^\d+$/.test(line))) await once(lines, 'line')
  const port = printed.find((line) => /^\d+$/.test(line))
  let cookie = ''
  const call = async (method: string, path: string, body?: object) => {
    const headers = { cookie, 'content-type': 'application/json', 'sec-fetch-site': 'same-origin' }
    const response = await fetch(`http://localhost:${port}${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    })
    cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
    return { status: response.status, json: response.status === 200 ? ((await response.json()) as unknown) : null }
  }
  return { call, printed }
}

test('the service of the first guide does what the guide says', async (t) => {
  const { call, printed } = await running(t, 'getting-started.md')
  assert.deepEqual((await call('GET', '/')).json, { userId: null, cart: [] })
  assert.deepEqual((await call('POST', '/cart')).json, ['tea'])
  assert.equal((await call('GET', '/orders')).status, 401)
  assert.deepEqual((await call('POST', '/sign-in')).json, { hello: 'ada' })
  assert.deepEqual((await call('POST', '/cart')).json, ['tea', 'tea'])
  assert.equal((await call('GET', '/orders')).status, 200)
  await call('POST', '/sign-out')
  assert.deepEqual((await call('GET', '/')).json, { userId: null, cart: [] })
  assert.ok(printed.includes('unknown'), printed.join())
})

test('the service of the Express guide does what the guide says', async (t) => {
  const { call } = await running(t, 'express.md')
  assert.deepEqual((await call('POST', '/cart', { item: 'jam' })).json, ['jam'])
  assert.equal((await call('POST', '/sign-in', { name: 'ada', password: 'no' })).status, 401)
  assert.equal((await call('GET', '/orders')).status, 401)
  assert.deepEqual((await call('POST', '/sign-in', { name: 'ada', password: 'tea' })).json, { hello: 'ada' })
  assert.deepEqual((await call('POST', '/cart', { item: 'rye' })).json, ['jam', 'rye'])
  assert.equal((await call('GET', '/orders')).status, 200)
  assert.equal((await call('DELETE', `/devices/${'A'.repeat(22)}`)).status, 404)
  assert.equal((await call('POST', '/password')).status, 204)
  assert.equal((await call('POST', '/sign-out')).status, 204)
  assert.equal((await call('GET', '/orders')).status, 401)
})

test('the other frameworks do what their guide says', async (t) => {
  const tried = `
    console.log('fetch', (await fetchHandler(new Request('https://shop.example/'))).status)
    console.log('fetch', (await fetchHandler(new Request('https://shop.example/orders'))).status)
    const { token: mine } = await sessions.start('ada', { roles: ['shopper'] })
    const { once } = await import('node:events')
    const koaServer = koa.listen(0, 'localhost')
    await once(koaServer, 'listening')
    for (const headers of [{}, { cookie: '__Host-session=' + mine }]) {
      console.log('hono', (await hono.request('/orders', { headers })).status)
      console.log('koa', (await fetch('http://localhost:' + koaServer.address().port + '/orders', { headers })).status)
    }
    const { token } = await api.start('ada', { roles: ['shopper'] })
    for (const headers of [{}, { authorization: 'Bearer ' + token }]) {
      console.log('bearer', (await apiHandler(new Request('https://api.example/orders', { headers }))).status)
    }
    console.log('done')`
  const { call, printed } = await running(t, 'frameworks.md', tried)
  assert.deepEqual((await call('POST', '/cart', { item: 'jam' })).json, ['jam'])
  assert.equal((await call('GET', '/orders')).status, 401)
  assert.deepEqual((await call('POST', '/sign-in', { name: 'ada' })).json, { hello: 'ada' })
  assert.deepEqual((await call('POST', '/cart', { item: 'rye' })).json, ['jam', 'rye'])
  assert.equal((await call('GET', '/orders')).status, 200)
  assert.equal((await call('POST', '/sign-out', {})).status, 204)
  assert.equal((await call('GET', '/orders')).status, 401)
  while (!printed.includes('done')) await setTimeout(10)
  assert.deepEqual(printed.slice(1), [
    'fetch 200',
    'fetch 401',
    'hono 401',
    'koa 401',
    'hono 200',
    'koa 200',
    'bearer 401',
    'bearer 200',
    'done',
  ])
})

test('the sockets do what their guide says', async (t) => {
  const tried = `
    const { WebSocket } = await import('ws')
    const { io: connect } = await import('socket.io-client')
    const { credentials, Metadata, ServerCredentials } = await import('@grpc/grpc-js')
    const { once } = await import('node:events')
    io.listen(0)
    const ioPort = io.httpServer.address().port
    const grpcPort = await new Promise((resolve) =>
      grpc.bindAsync('localhost:0', ServerCredentials.createInsecure(), (_, port) => resolve(port)))
    const member = await sessions.start('ada', { roles: ['member'] })
    const guest = await sessions.start(null)
    const metadata = new Metadata()
    metadata.set('authorization', 'Bearer ' + member.token)
    const orders = new shop.Orders('localhost:' + grpcPort, credentials.createInsecure())
    for (const method of ['who', 'restricted']) {
      await new Promise((resolve) => orders[method]({ text: '' }, metadata, (error, answer) => {
        console.log(method, error?.code ?? answer.text)
        resolve()
      }))
    }
    await new Promise((resolve) => orders.restricted({ text: '' }, (error) => resolve(console.log('grpc', error.code))))
    orders.close()
    const headers = (token) => ({ authorization: 'Bearer ' + token })
    const refused = connect('http://localhost:' + ioPort, { extraHeaders: headers(guest.token), reconnection: false })
    console.log('socket.io', (await once(refused, 'connect_error'))[0].data.status)
    const other = connect('http://localhost:' + ioPort, { extraHeaders: headers(member.token), reconnection: false })
    other.on('session-over', ({ code }) => console.log('socket.io', code))
    await once(other, 'connect')
    other.send('hi')
    console.log(...(await once(other, 'message')))
    const url = 'ws://localhost:' + http.address().port
    const stranger = new WebSocket(url).on('error', () => {})
    console.log('ws', (await once(stranger, 'unexpected-response'))[1].statusCode)
    const socket = new WebSocket(url, { headers: headers(member.token) })
    await once(socket, 'open')
    socket.send('hi')
    console.log('ws', String((await once(socket, 'message'))[0]))
    await Promise.all([sessions.setRoles('ada', []), once(other, 'disconnect'), once(socket, 'close').then(([code]) => console.log('ws', code))])
    console.log('done')`
  const { printed } = await running(t, 'sockets.md', tried)
  while (!printed.includes('done')) await setTimeout(10)
  const said = new Set(printed.slice(1))
  for (const line of [
    'who ada',
    'restricted done',
    'grpc 16',
    'socket.io 401',
    'ada: hi',
    'ws 401',
    'ws ada: hi',
    'ws 4409',
    'socket.io 4409',
  ])
    assert.ok(said.has(line), `${line}: ${printed.join()}`)
})

for (const [guide, expected] of [
  ['tokens.md', [/^ada (299\.\d+|300)$/m, '1', 'ada']],
  ['revocation.md', ['close the socket']],
  ['chain.md', ['{"for":"ada","by":["shop"],"write":false}', '\nstock:read\n', 'ada true\ndropped']],
] as const) {
  test(`the program of ${guide} does what the guide says`, async () => {
    const file = program(guide, guide === 'revocation.md' ? 'sessions.close()' : 'process.exit()')
    const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=source', file], { cwd: folder })
    for (const line of expected) assert.ok(typeof line === 'string' ? stdout.includes(line) : line.test(stdout), stdout)
  })
}

test('what other libraries become does what the guide says', async (t) => {
  const { cookieName, password } = { cookieName: 'shop', password: 'thirty-two characters or more, as it was' }
  const tried = `
    import { sealData } from 'iron-session'
    console.log('fastify', (await api.inject('/add/tea')).body)
    const seal = await sealData({ userId: 'ada' }, { password: '${password}' })
    const bridged = await handler(new Request('https://shop.example/', { headers: { cookie: '${cookieName}=' + seal } }))
    console.log('iron', await bridged.text(), bridged.headers.getSetCookie().map((line) => line.split('=')[0]).join())
    console.log('done', typeof step, typeof instead)`
  const { call, printed } = await running(t, 'migrate.md', tried)
  assert.deepEqual((await call('GET', '/add/tea')).json, ['tea'])
  assert.deepEqual((await call('GET', '/add/jam')).json, ['tea', 'jam'])
  assert.deepEqual((await call('GET', '/sign-in/ada')).json, { hello: 'ada' })
  assert.deepEqual((await call('GET', '/add/rye')).json, ['rye'])
  assert.equal((await call('POST', '/sign-out-everywhere/ada')).json, 1)
  assert.deepEqual((await call('GET', '/add/tea')).json, ['tea'])
  while (!printed.some((line) => line.startsWith('done'))) await setTimeout(10)
  assert.deepEqual(
    printed.filter((line) => !/^\d+$/.test(line)),
    ['fastify ["tea"]', 'iron ada shop,__Host-session', 'done function function'],
  )
})

test('the store of own-store.md passes the contract', async () => {
  // Under our own runner a program would tell its results in the runner's binary form.
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined, TMPDIR: folder }
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=source', '--test-reporter=tap', written('own-store.md')],
    { env },
  )
  assert.match(stdout, /^# pass (?!0$)\d+$/m)
  assert.match(stdout, /^# fail 0$/m)
})
