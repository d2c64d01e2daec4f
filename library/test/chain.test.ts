// The chain of calls: what a service asserts to the next one says who the user is, allows never more, and ends with the session.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import fc from 'fast-check'
import {
  AccessError,
  ConfigError,
  cookieTransport,
  createSessions,
  headerTransport,
  type Feed,
  type Schemas,
  type Session,
  type SessionsOptions,
  type Store,
} from 'holdfast'
import { sessionInterceptor } from 'holdfast/adapters/grpc'
import { credentialInterceptor } from 'holdfast/adapters/grpc-client'
import { sessionHandler } from 'holdfast/adapters/node'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import { staticKeys } from 'holdfast/credentials/keys'
import { opaqueCredentials } from 'holdfast/credentials/opaque'
import { signedCredentials } from 'holdfast/credentials/signed'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import { fakeClock } from 'holdfast/testing/clock'

const issuer = 'https://accounts.example'
const jwk = { ...generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }), kid: 'one', alg: 'EdDSA' }
const keys = staticKeys({ keys: [jwk] })
const roles = { clerk: ['orders:*', 'stock:read'], shopper: ['orders:read'] }

/** A system of services on one store and one feed. */
function system(o: { roles?: Record<string, string[]>; store?: (store: Store) => Store } = {}) {
  const clock = fakeClock(1_700_000_000_000)
  const right = memoryStore({ clock })
  const store = o.store?.(right) ?? right
  const feed = memoryFeed()
  const service = (name: string, own: Partial<SessionsOptions<Schemas>> = {}) =>
    createSessions({
      store,
      feed,
      roles: o.roles ?? roles,
      now: clock.now,
      transport: [cookieTransport(), headerTransport('Txn-Token')],
      credentials: [
        opaqueCredentials(),
        signedCredentials({ issuer, audience: name, keys }),
        assertionCredentials({ issuer, service: name, keys }),
      ],
      ...own,
    })
  return { clock, service }
}

type AnySession = Session<Readonly<Record<string, unknown>>>

/** Resolves when its view of endings is young. */
async function followed(sessions: Pick<ReturnType<typeof createSessions>, 'status'>): Promise<void> {
  while (!sessions.status()!.fresh) await new Promise((resolve) => setTimeout(resolve, 1))
}

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, unknown>
}

describe('an assertion', () => {
  test('says to the service that it is for who the user is, and through whom the call came', async () => {
    const { service } = system()
    const [a, b, c] = ['a', 'b', 'c'].map((name) => service(name))
    const { session } = await a!.start('ada', { roles: ['clerk'], amr: ['pwd'], claims: { plan: 'pro' } })
    const toB = await a!.assertionFor(session, 'b', { scope: ['orders:*'] })
    const atB = await b!.open(toB)
    assert.deepEqual(
      [atB.userId, atB.id, atB.roles, atB.amr, atB.claims],
      ['ada', session.id, ['clerk'], ['pwd'], { plan: 'pro' }],
    )
    assert.deepEqual(atB.via?.callers, ['a'])
    const atC = await c!.open(await b!.assertionFor(atB, 'c', { scope: ['orders:read', 'stock:read'] }))
    assert.deepEqual(atC.via, { ...atB.via, callers: ['a', 'b'], scope: ['orders:read'] })
    assert.deepEqual([atB.client, session.client], [null, null])
    assert.deepEqual([atC.can('orders:read'), atC.can('orders:write'), atC.can('stock:read')], [true, false, false])
    assert.equal(session.via, null)
  })

  test('has the form of draft-ietf-oauth-transaction-tokens-10', async () => {
    const { service, clock } = system()
    const { session } = await service('a').start('ada', { roles: ['clerk'] })
    const token = await service('a').assertionFor(session, 'b', { scope: ['orders:read'] })
    const header = JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as object
    assert.deepEqual(header, { alg: 'EdDSA', typ: 'txntoken+jwt', kid: 'one' })
    const { iat, exp, aud, sub, scope, req_wl, act, txn } = claimsOf(token)
    assert.deepEqual(
      { iat, exp, aud, sub, scope, req_wl, act },
      {
        iat: clock.now() / 1000,
        exp: clock.now() / 1000 + 60,
        aud: 'b',
        sub: 'ada',
        scope: 'orders:read',
        req_wl: 'a',
        act: { sub: 'a' },
      },
    )
    assert.match(String(txn), /^[\w-]{22}$/)
  })

  test('is accepted by nobody else, not after its time, and as nothing else', async () => {
    const { service, clock } = system()
    const [a, b, c] = ['a', 'b', 'c'].map((name) => service(name))
    const started = await a!.start('ada', { credential: 'signed' })
    const token = await a!.assertionFor(started.session, 'b')
    const refused = async (sessions: typeof a, presented: string) => (await sessions!.open(presented)).refused
    assert.equal(await refused(c, token), 'audience')
    assert.equal(await refused(a, token), 'audience')
    assert.equal(await refused(b, `${token.slice(0, -4)}AAAA`), 'signature')
    const [head, payload, signature] = token.split('.')
    const accessToken = started.token.split('.')
    // The claims of one kind under the header of another are signed by nobody.
    assert.equal(await refused(b, [accessToken[0], payload, signature].join('.')), 'signature')
    assert.equal(await refused(b, [head, accessToken[1], accessToken[2]].join('.')), 'signature')
    assert.equal(await refused(b, started.token), 'audience')
    assert.equal(await refused(b, token), null)
    // T9: 5 s of tolerance, once.
    clock.advance('64999ms')
    assert.equal(await refused(service('b'), token), null)
    clock.advance('1ms')
    assert.equal(await refused(service('b'), token), 'expired')
  })

  test('never outlives the token that it came of, nor the session', async () => {
    const { service, clock } = system()
    const [a, b] = ['a', 'b'].map((name) => service(name))
    const { session } = await a!.start('ada')
    const toB = await a!.assertionFor(session, 'b')
    clock.advance('40000ms')
    const atB = await b!.open(toB)
    // The store knows of a later end.
    await atB.read('notes')
    const toC = await b!.assertionFor(atB, 'c')
    assert.equal(claimsOf(toC)['exp'], claimsOf(toB)['exp'])
    clock.advance('20000ms')
    await assert.rejects(b!.assertionFor(atB, 'c'), { code: 'session-gone' })
  })

  test('ends with the session, in every service of the chain', async () => {
    const { service } = system()
    const [a, b, c] = ['a', 'b', 'c'].map((name) => service(name))
    const { session } = await a!.start('ada')
    const toB = await a!.assertionFor(session, 'b')
    const atB = await b!.open(toB)
    const toC = await b!.assertionFor(atB, 'c')
    assert.equal((await c!.open(toC)).userId, 'ada')
    const over = new Promise((resolve) => c!.watch(atB, resolve))
    await a!.end(session.id!, { settled: true })
    assert.equal(await over, 'ended')
    assert.equal((await b!.open(toB)).refused, 'ended')
    assert.equal((await c!.open(toC)).refused, 'ended')
  })

  test('is stale when the roles change: a demoted user loses power in the whole chain', async () => {
    const { service } = system()
    const [a, b] = ['a', 'b'].map((name) => service(name))
    const { session } = await a!.start('ada', { roles: ['clerk'] })
    const token = await a!.assertionFor(session, 'b')
    assert.equal((await b!.open(token)).can('orders:write'), true)
    await a!.setRoles('ada', [])
    assert.equal((await b!.open(token)).refused, 'stale')
  })

  test('is made of no session that ended, however long ago it was opened: who follows the feed since then can not know', async () => {
    const { service, clock } = system()
    const alone = service('a', { feed: undefined })
    const { session } = await alone.start('ada')
    const { session: expired } = await alone.start('bob')
    await service('b').end(session.id!)
    await assert.rejects(alone.assertionFor(session, 'c'), { code: 'session-gone' })
    clock.advance('31m')
    await assert.rejects(alone.assertionFor(expired, 'c'), { code: 'session-gone' })
  })

  test('of a session that others went on using is good, and has the roles of now', async () => {
    const { service } = system()
    const [a, b] = ['a', 'b'].map((name) => service(name))
    const { session } = await a!.start('ada', { roles: ['clerk'] })
    await b!.setRoles('ada', ['shopper'])
    const atB = await b!.open(await a!.assertionFor(session, 'b'))
    assert.deepEqual([atB.refused, atB.can('orders:write'), atB.can('orders:read')], [null, false, true])
  })

  test('that would be longer than any token is read is not made', async () => {
    const { service } = system()
    const a = service('a')
    const { session } = await a.start('ada', { claims: { much: 'x'.repeat(7_000) } })
    await assert.rejects(a.assertionFor(session, 'b'), { code: 'data-too-large' })
  })

  test('a change of data keeps what it is limited to', async () => {
    const { service } = system()
    const [a, b] = ['a', 'b'].map((name) => service(name))
    const { session } = await a!.start('ada', { roles: ['clerk'], data: { notes: 1 } })
    const atB = await b!.open(await a!.assertionFor(session, 'b', { scope: ['orders:read'] }))
    assert.equal(await atB.read('notes'), 1)
    assert.equal(await atB.update('notes', () => 2), 2)
    await assert.rejects(atB.signIn('ada', { roles: ['clerk'] }), { code: 'forbidden' })
    assert.deepEqual([atB.can('orders:read'), atB.can('stock:read')], [true, false])
    assert.deepEqual(claimsOf(await b!.assertionFor(atB, 'c'))['scope'], 'orders:read')
  })

  test('is refused by name when it can not be made', async () => {
    const { service } = system()
    const a = service('a')
    const { session } = await a.start('ada')
    await assert.rejects(a.assertionFor(await a.open('x'), 'b'), AccessError)
    await assert.rejects(a.assertionFor(session, 'b', { scope: ['*:read'] }), /scope: '\*:read'/)
    await assert.rejects(a.assertionFor(session, ''), /audience/)
    const plain = createSessions({ store: memoryStore() })
    await assert.rejects(plain.assertionFor((await plain.start('ada')).session, 'b'), ConfigError)
    assert.throws(() => assertionCredentials({ issuer, service: '', keys }), /service/)
    assert.throws(() => assertionCredentials({ issuer, service: 'a', keys, lifetime: '2h' }), /lifetime/)
  })

  test('a chain is at most eight services long', async () => {
    const { service } = system()
    const a = service('a')
    let { session } = (await a.start('ada')) as { session: AnySession }
    for (let i = 0; i < 8; i++) session = await a.open(await a.assertionFor(session, 'a'))
    assert.equal(session.via!.callers.length, 8)
    await assert.rejects(a.assertionFor(session, 'a'), /longer than 8/)
  })
})

const grant = fc.constantFrom(
  '*',
  'orders:*',
  'orders:read',
  'orders:write',
  'orders:read:own',
  'stock:*',
  'stock:read',
  'admin',
)
const permission = fc.constantFrom(
  'orders:read',
  'orders:write',
  'orders:read:own',
  'orders',
  'stock:read',
  'stock:write',
  'admin',
  'other',
)

test('whatever each service asks for, nobody may do more than any before, or than the user', async () => {
  const links = fc.array(fc.array(grant, { maxLength: 3 }), { minLength: 1, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(
      fc.array(grant, { maxLength: 3 }),
      links,
      fc.array(permission, { minLength: 1 }),
      async (granted, scopes, asked) => {
        const { service } = system({ roles: { user: granted } })
        const one = service('one')
        const { session: first } = await one.start('ada', { roles: ['user'] })
        let session: AnySession = first
        const before: AnySession[] = [first]
        for (const scope of scopes) {
          session = await one.open(await one.assertionFor(session, 'one', { scope }))
          for (const name of asked) {
            if (!session.can(name)) continue
            assert.ok(
              before.every((link) => link.can(name)),
              `${name} of ${scope.join()} was not allowed before`,
            )
          }
          // And no less than both allow.
          for (const name of asked) {
            const wanted = scope.some(
              (one) => one === '*' || one === name || (one.endsWith(':*') && name.startsWith(one.slice(0, -1))),
            )
            if (wanted && before.every((link) => link.can(name))) assert.ok(session.can(name), name)
          }
          before.push(session)
        }
      },
    ),
    { numRuns: 200 },
  )
})

test('over HTTP: the header Txn-Token opens the session of the service that is called, which calls the next', async () => {
  const { service } = system()
  const [a, b, c] = ['a', 'b', 'c'].map((name) => service(name))
  const servers: Server[] = []
  async function served(handler: Parameters<typeof createServer>[1]): Promise<string> {
    const server = createServer(handler)
    servers.push(server)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }
  try {
    const said = (session: AnySession) =>
      [session.userId, session.via?.callers.join() ?? '-', session.can('orders:read'), session.can('stock:read')].join()
    const urlOfC = await served(sessionHandler(c!, (_request, response, session) => void response.end(said(session))))
    const urlOfB = await served(
      sessionHandler(b!, async (_request, response, session) => {
        const headers = { 'Txn-Token': await b!.assertionFor(session, 'c', { scope: ['stock:read'] }) }
        response.end(`${said(session)} ${await (await fetch(urlOfC, { headers })).text()}`)
      }),
    )
    const { session } = await a!.start('ada', { roles: ['clerk'] })
    const headers = { 'Txn-Token': await a!.assertionFor(session, 'b') }
    // Not ambient: no page of another site can make a browser send it.
    const call = await fetch(urlOfB, { method: 'POST', headers: { ...headers, 'sec-fetch-site': 'cross-site' } })
    assert.equal(await call.text(), 'ada,a,true,true ada,a,b,false,true')
    assert.equal(await (await fetch(urlOfC, { headers })).text(), ',-,false,false')
    assert.equal(await (await fetch(urlOfC)).text(), ',-,false,false')
    const twice = ['Txn-Token', headers['Txn-Token']] as [string, string]
    assert.equal((await fetch(urlOfB, { headers: [twice, twice] })).status, 401)
  } finally {
    for (const server of servers) server.close()
  }
})

test('over gRPC: the metadata opens it, and a stream is ended with the session', async (t) => {
  const { service } = system()
  const [a, b] = ['a', 'b'].map((name) => service(name))
  const { shop } = grpc.loadPackageDefinition(
    loadSync(join(import.meta.dirname, 'adapters/orders.proto')),
  ) as unknown as { shop: { Orders: grpc.ServiceClientConstructor } }
  const { interceptor, sessionOf } = sessionInterceptor(b!)
  const server = new grpc.Server({ interceptors: [interceptor] })
  server.addService(shop.Orders.service, {
    follow(call: grpc.ServerWritableStream<unknown, unknown>) {
      const { userId, via } = sessionOf(call)
      call.write({ text: `${userId} ${via?.scope.join()}` })
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  const client = new shop.Orders(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
  t.after(() => {
    client.close()
    server.forceShutdown()
  })
  const { session } = await a!.start('ada')
  const acting = credentialInterceptor(() => a!.assertionFor(session, 'b', { scope: ['orders:read'] }), {
    header: 'txn-token',
  })
  const follow = client['follow'] as (text: object, o: object) => grpc.ClientReadableStream<{ text: string }>
  const stream = follow.call(client, { text: '' }, { interceptors: [acting] })
  const [first] = (await once(stream, 'data')) as [{ text: string }]
  assert.equal(first.text, 'ada orders:read')
  const over = once(stream, 'error')
  await a!.end(session.id!)
  assert.equal(((await over) as [grpc.ServiceError])[0].code, grpc.status.UNAUTHENTICATED)
})

test('the credentials of one session are kept apart in the cache, whatever happens to it', async () => {
  const { service } = system()
  const [a, b] = ['a', 'b'].map((name) => service(name))
  const { session, token } = await a!.start('ada', { roles: ['clerk'], data: { notes: 1 } })
  await followed(b!)
  const little = await a!.assertionFor(session, 'b', { scope: ['orders:read'] })
  const none = await a!.assertionFor(session, 'b', { scope: [] })
  const cans = async (presented: string) => {
    const opened = await b!.open(presented)
    return ['orders:read', 'orders:write'].map((one) => opened.can(one))
  }
  for (let round = 0; round < 3; round++) {
    const all = await Promise.all([token, little, none, token, none, little].map(cans))
    assert.deepEqual(all, [
      [true, true],
      [true, false],
      [false, false],
      [true, true],
      [false, false],
      [true, false],
    ])
    // A newer state of the session replaces what is cached of it.
    await (await b!.open(round === 0 ? token : little)).update('notes', (n) => Number(n) + 1)
    await b!.get(session.id!)
  }
  assert.ok(b!.status()!.hits > 0)
})

test('whatever fails, and whatever is trusted then, nobody may do more than was asserted', async () => {
  let isDown = false
  const failing = (store: Store): Store => ({
    ...store,
    async get(id) {
      if (isDown) throw new Error('connection lost')
      return store.get(id)
    },
  })
  const silent: Feed = {
    publish: async () => {},
    async *follow({ signal }) {
      await once(signal, 'abort')
      yield* []
    },
  }
  const { service } = system({ store: failing })
  const a = service('a')
  const { session } = await a.start('ada', { roles: ['clerk'] })
  const token = await a.assertionFor(session, 'b', { scope: ['orders:read'] })
  const outcomes: Record<string, string> = {}
  for (const [name, feed] of Object.entries({ none: undefined, silent, followed: memoryFeed() }))
    for (const whenStale of ['ask-store', 'refuse', 'trust-signed'] as const)
      for (const whenStoreIsDown of ['refuse', 'trust-signed'] as const) {
        const b = service('b', { feed, whenStale, whenStoreIsDown })
        if (name === 'followed') await followed(b)
        const seen: string[] = []
        for (isDown of [true, false, true]) {
          const opened = await b.open(token).catch((error: { code: string }) => error.code)
          seen.push(typeof opened === 'string' ? opened : 'in')
          if (typeof opened === 'string') continue
          assert.deepEqual([opened.can('orders:read'), opened.can('orders:write')], [true, false])
          const next = await b
            .assertionFor(opened, 'c', { scope: ['*'] })
            .catch((error: { code: string }) => error.code)
          // What is made of it asks the store, whoever is trusted meanwhile.
          if (isDown) assert.equal(next, 'store-unavailable')
          else assert.equal(claimsOf(next)['scope'], 'orders:read')
        }
        outcomes[[name, whenStale, whenStoreIsDown].join()] = seen.map((one) => (one === 'in' ? '+' : '-')).join('')
        b.close()
      }
  assert.deepEqual(outcomes, {
    'none,ask-store,refuse': '-+-',
    'none,ask-store,trust-signed': '+++',
    'none,refuse,refuse': '-+-',
    'none,refuse,trust-signed': '+++',
    'none,trust-signed,refuse': '-+-',
    'none,trust-signed,trust-signed': '+++',
    'silent,ask-store,refuse': '-+-',
    'silent,ask-store,trust-signed': '+++',
    'silent,refuse,refuse': '---',
    'silent,refuse,trust-signed': '---',
    'silent,trust-signed,refuse': '+++',
    'silent,trust-signed,trust-signed': '+++',
    // Followed for too short a time to tell by itself: the store is asked, once.
    'followed,ask-store,refuse': '-++',
    'followed,ask-store,trust-signed': '+++',
    'followed,refuse,refuse': '-++',
    'followed,refuse,trust-signed': '+++',
    'followed,trust-signed,refuse': '-++',
    'followed,trust-signed,trust-signed': '+++',
  })
})

test('what it costs', async (t) => {
  let ahead = 0
  let gets = 0
  const counted = (store: Store): Store => ({ ...store, get: (id) => (gets++, store.get(id)) })
  const { service } = system({ store: counted })
  const b = service('b', { elapsed: () => performance.now() + ahead })
  const { session } = await b.start('ada', { roles: ['clerk'] })
  // Who has followed the feed for the life of a token and five minutes needs no store to believe it.
  await followed(b)
  ahead = 7 * 60_000
  await followed(b)
  const tokens: string[] = []
  const times = 300
  const each = async (name: string, n: number, work: (i: number) => Promise<unknown>) => {
    let ms = 0
    for (let i = 0; i < n;) {
      // The feed is read between.
      await new Promise((resolve) => setTimeout(resolve, 1))
      const from = performance.now()
      for (const end = Math.min(i + 50, n); i < end; i++) await work(i)
      ms += performance.now() - from
    }
    t.diagnostic(`${name}: ${((ms / n) * 1000).toFixed(1)} µs`)
  }
  await each('made, with one read of a store in memory', times, async () =>
    tokens.push(await b.assertionFor(session, 'b')),
  )
  gets = 0
  await each('accepted the first time', times, (i) => b.open(tokens[i]!))
  await each('accepted from the cache', 20_000, () => b.open(tokens.at(-1)!))
  assert.equal(gets, 0)
})
