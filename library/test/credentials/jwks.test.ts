// Keys of somebody else, from a real server that does all that servers do.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { remoteKeys, type RemoteKeysOptions } from '../../src/credentials/jwks.ts'
import { staticKeys } from '../../src/credentials/keys.ts'
import { signedCredentials } from '../../src/credentials/signed.ts'
import { ConfigError, StoreUnavailableError } from '../../src/errors.ts'
import { fakeClock } from '../../src/testing/clock.ts'
import { record } from '../fixtures.ts'
import { privateKey, publicKey, random } from './signed-fixtures.ts'

const ed = publicKey('EdDSA')
const ec = publicKey('ES256')

type Answer = (request: IncomingMessage, response: ServerResponse) => unknown

/** A server that answers as `answer` says just then, and a clock for how old the keys are. */
async function served(t: TestContext, o: Partial<RemoteKeysOptions> = {}) {
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`)
    world.answer(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const down = () => new Promise<void>((resolve) => (server.closeAllConnections(), server.close(() => resolve())))
  t.after(down)
  const clock = fakeClock()
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`
  const world = {
    requests,
    clock,
    url,
    down,
    answer: json({ keys: [ed] }),
    keys: remoteKeys({ url, elapsed: clock.now, ...o }),
  }
  return world
}

function json(body: unknown, type = 'application/jwk-set+json'): Answer {
  return (_, response) => void response.setHeader('content-type', type).end(JSON.stringify(body))
}

test('tokens are verified with the keys that somebody publishes', async (t) => {
  const { keys, requests } = await served(t)
  const issuing = { issuer: 'i', audience: 'a' }
  const issuer = signedCredentials({ ...issuing, keys: staticKeys({ keys: [privateKey('EdDSA')] }) })
  const { id, tokens } = await issuer.issue(random)
  const { token } = await tokens(record({ id }))
  const verifying = signedCredentials({ ...issuing, keys })
  const first = await verifying.present(token, record().seenAt)
  assert.equal(first?.kind === 'proof' && first.known.id, id)
  assert.ok(!(verifying.present(token, record().seenAt) instanceof Promise))
  assert.deepEqual(requests, ['GET /jwks.json'])
})

test('application/json will do, with parameters too', async (t) => {
  const world = await served(t)
  world.answer = json({ keys: [ed] }, 'application/json; charset=utf-8')
  assert.ok(await world.keys.find(ed.kid))
})

for (const url of [
  'http://accounts.example/jwks',
  'http://127.0.0.1.evil.example/jwks',
  'http://localhost.evil.example',
  'ftp://localhost/',
  'file:///etc/keys',
  '/jwks.json',
  '',
])
  test(`refused at the start: keys from '${url}'`, () => {
    assert.throws(
      () => remoteKeys({ url }),
      (error: unknown) => error instanceof ConfigError && error.message.startsWith('url'),
    )
  })

test('https everywhere, and http on this machine', () => {
  for (const url of [
    'https://accounts.example/jwks',
    'http://localhost:1/',
    'http://127.0.0.2/',
    'http://[::1]:4000/jwks',
  ])
    remoteKeys({ url: new URL(url) })
})

const unusable: readonly (readonly [what: string, answer: Answer])[] = [
  [
    'another status',
    (_, response) =>
      void response.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: [ed] })),
  ],
  ['a page', json({ keys: [ed] }, 'text/html')],
  ['no content type', (_, response) => void response.end(JSON.stringify({ keys: [ed] }))],
  ['a content type that only begins like it', json({ keys: [ed] }, 'application/jsonp')],
  ['garbage', (_, response) => void response.setHeader('content-type', 'application/json').end('{"keys":[')],
  [
    'invalid UTF-8',
    (_, response) =>
      void response
        .setHeader('content-type', 'application/json')
        .end(Buffer.from(JSON.stringify({ keys: [ed], text: '\xff' }), 'latin1')),
  ],
  ['no set', json(null)],
  ['a set without keys', json({})],
  ['an empty set', json({ keys: [] })],
  ['keys that are no list', json({ keys: ed })],
  ['a key that is too short', json({ keys: [ed, { ...publicKey('RS256'), e: 'AQ' }] })],
  ['two keys of one kid', json({ keys: [ed, ed] })],
  ['a secret among the keys', json({ keys: [ed, privateKey('HS256')] })],
  ['a secret alone', json({ keys: [privateKey('HS256')] })],
  ['private keys', json({ keys: [privateKey('EdDSA')] })],
  ['a point that is on no curve', json({ keys: [{ ...ec, y: ec['x'] }] })],
  ['more than 65,536 bytes', json({ keys: [ed], padding: 'x'.repeat(65_536) })],
  [
    'bytes without end',
    (_, response) => {
      response.setHeader('content-type', 'application/json')
      const more = () => void (response.destroyed || response.write('x'.repeat(1024), more))
      more()
    },
  ],
  [
    'a connection that breaks',
    (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
      response.write('{"keys":', () => response.destroy())
    },
  ],
]

for (const [what, answer] of unusable) {
  test(`an outage, and the last good set is kept: ${what}`, async (t) => {
    const world = await served(t)
    world.answer = answer
    await assert.rejects(async () => world.keys.find(ed.kid), StoreUnavailableError)
    world.answer = json({ keys: [ed] })
    await world.keys.refresh!()
    world.answer = answer
    await assert.rejects(async () => world.keys.refresh!(), StoreUnavailableError)
    assert.ok(await world.keys.find(ed.kid))
    world.clock.advance('1h')
    assert.ok(await world.keys.find(ed.kid))
  })
}

test('no redirect is followed', async (t) => {
  const world = await served(t)
  world.answer = (request, response) => {
    if (request.url === '/elsewhere') json({ keys: [ed] })(request, response)
    else response.writeHead(302, { location: '/elsewhere' }).end()
  }
  await assert.rejects(async () => world.keys.find(ed.kid), StoreUnavailableError)
  assert.deepEqual(world.requests, ['GET /jwks.json'])
})

for (const part of ['headers', 'body'] as const)
  test(`a server that is slow with its ${part} is waited for two seconds`, { timeout: 10_000 }, async (t) => {
    const world = await served(t)
    world.answer = (_, response) => {
      if (part === 'body') response.writeHead(200, { 'content-type': 'application/json' }).write('{')
    }
    const began = performance.now()
    await assert.rejects(async () => world.keys.find(ed.kid), StoreUnavailableError)
    assert.ok(performance.now() - began > 1_500)
  })

test('J14: names that strangers make up cost one request per cooldown, all together', async (t) => {
  const world = await served(t, { cooldown: '30s' })
  const ask = () => Promise.all(Array.from({ length: 100 }, async (_, i) => world.keys.find(`made up ${i}`)))
  assert.deepEqual(new Set(await ask()), new Set([null]))
  assert.equal(world.requests.length, 1)
  await ask()
  world.clock.advance('29s')
  await ask()
  assert.equal(world.requests.length, 1)
  world.clock.advance('1s')
  await ask()
  assert.equal(world.requests.length, 2)
})

test('J14: while the server is down it is asked once per cooldown, too, and unknown keys are an outage', async (t) => {
  const world = await served(t, { cooldown: '30s' })
  assert.ok(await world.keys.find(ed.kid))
  world.answer = (_, response) => void response.writeHead(503).end()
  world.clock.advance('30s')
  const ask = () => Promise.allSettled(Array.from({ length: 20 }, async () => world.keys.find(ec.kid)))
  for (let i = 0; i < 3; i++) for (const { status } of await ask()) assert.equal(status, 'rejected')
  assert.equal(world.requests.length, 2)
  assert.ok(await world.keys.find(ed.kid))
  world.answer = json({ keys: [ed, ec] })
  world.clock.advance('30s')
  assert.ok(await world.keys.find(ec.kid))
})

test('a server that can not be reached is an outage that names the address', async (t) => {
  const world = await served(t)
  await world.down()
  const { origin } = new URL(world.url)
  const error = await Promise.resolve(world.keys.find(ed.kid)).catch((error: unknown) => error)
  assert.ok(error instanceof StoreUnavailableError && error.message.includes(`${origin}/jwks.json`))
  assert.equal(error.retryAfterMs, 30_000)
})

test('an address may have a secret in it, which is not told', async () => {
  const keys = remoteKeys({
    url: 'https://user:hunter2@accounts.example/jwks?token=hunter2',
    fetch: async () => new Response(''),
  })
  const error = await Promise.resolve(keys.find('a')).catch((error: unknown) => error)
  assert.ok(error instanceof StoreUnavailableError && !error.message.includes('hunter2'))
})

test('J14: a new key is fetched when a token names it', async (t) => {
  const world = await served(t)
  assert.ok(await world.keys.find(ed.kid))
  world.answer = json({ keys: [ed, ec] })
  world.clock.advance('30s')
  assert.ok(await world.keys.find(ec.kid))
  assert.equal(world.requests.length, 2)
})

test('J14: a key that is no longer published is not believed for longer than maxAge', async (t) => {
  const world = await served(t, { maxAge: '10m' })
  assert.ok(await world.keys.find(ed.kid))
  world.answer = json({ keys: [ec] })
  world.clock.advance('299s')
  assert.ok(!(world.keys.find(ed.kid) instanceof Promise))
  assert.equal(world.requests.length, 1)
  world.clock.advance('301s')
  assert.equal(await world.keys.find(ed.kid), null)
})

test('when half of maxAge has passed the set is fetched in the background, once, and nobody waits', async (t) => {
  const world = await served(t, { maxAge: '10m' })
  assert.ok(await world.keys.find(ed.kid))
  const asked = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  world.answer = async (request, response) => {
    asked.resolve()
    await go.promise
    json({ keys: [ec] })(request, response)
  }
  world.clock.advance('5m')
  for (let i = 0; i < 10; i++) assert.ok(!(world.keys.find(ed.kid) instanceof Promise))
  await asked.promise
  // Who misses a key waits for the request that is under way.
  const waiting = world.keys.find(ec.kid)
  go.resolve()
  assert.ok(await waiting)
  assert.equal(await world.keys.find(ed.kid), null)
  assert.equal(world.requests.length, 2)
})

test('refresh: a removed key is refused at once, whatever was asked before', async (t) => {
  const world = await served(t)
  const asked = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  world.answer = async (request, response) => {
    asked.resolve()
    await go.promise
    json({ keys: [ed, ec] })(request, response)
  }
  const early = world.keys.find(ed.kid)
  await asked.promise
  // The request under way may have been answered before the key was removed.
  world.answer = json({ keys: [ec] })
  const refreshed = world.keys.refresh!()
  go.resolve()
  await early
  await refreshed
  assert.equal(await world.keys.find(ed.kid), null)
  assert.equal(world.requests.length, 2)
})
