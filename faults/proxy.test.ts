// The link of ours does what the faults need: cut, dark, slow and healed again, with nothing lost or overtaken.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { startProxy, type Proxy } from './proxy.ts'

/** A connection to an echo through the proxy. */
async function echo(t: TestContext): Promise<{ proxy: Proxy; dial(): Socket }> {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = await startProxy((server.address() as AddressInfo).port)
  t.after(() => {
    proxy.close()
    server.close()
  })
  return { proxy, dial: () => connect(proxy.port, '127.0.0.1').setEncoding('utf8') }
}

async function untilHeard(socket: Socket, text: string): Promise<void> {
  let heard = ''
  for await (const [chunk] of iterate(socket)) {
    heard += chunk
    if (heard === text) return
    assert.ok(text.startsWith(heard), heard)
  }
}

async function* iterate(socket: Socket): AsyncGenerator<[string]> {
  for (;;) yield (await once(socket, 'data')) as [string]
}

test('a cut resets what is open and what comes, until it is healed', async (t) => {
  const { proxy, dial } = await echo(t)
  const socket = dial()
  await once(socket, 'connect')
  const broken = once(socket, 'error')
  proxy.cut()
  assert.match(String(await broken), /ECONNRESET/)
  const another = dial()
  assert.match(String(await once(another, 'error')), /ECONNRESET/)
  proxy.heal()
  const third = dial()
  third.write('a')
  await untilHeard(third, 'a')
  third.destroy()
})

test('a dark link brings everything late, in order', async (t) => {
  const { proxy, dial } = await echo(t)
  const socket = dial()
  await once(socket, 'connect')
  proxy.blackhole()
  let early = ''
  socket.on('data', (text) => (early += String(text)))
  socket.write('a')
  socket.write('b')
  // Something that comes by another way while this one is dark.
  const { dial: elsewhere } = await echo(t)
  const other = elsewhere()
  other.write('x')
  await untilHeard(other, 'x')
  other.destroy()
  assert.equal(early, '')
  const heard = untilHeard(socket, 'ab')
  proxy.heal()
  await heard
  socket.destroy()
})

test('a slow link is overtaken by nothing when it is healed', async (t) => {
  const { proxy, dial } = await echo(t)
  const socket = dial()
  await once(socket, 'connect')
  proxy.delay(100)
  const heard = untilHeard(socket, 'ab')
  socket.write('a')
  await new Promise((resolve) => setTimeout(resolve, 20))
  proxy.heal()
  socket.write('b')
  await heard
  socket.destroy()
})
