// The chain of calls: what a service asserts to the next one says who the user is, allows never more, and ends with the session.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { AccessError, ConfigError, cookieTransport, createSessions, headerTransport, type Session } from 'holdfast'
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
function system(o: { lifetime?: '5s'; roles?: Record<string, string[]> } = {}) {
  const clock = fakeClock(1_700_000_000_000)
  const store = memoryStore({ clock })
  const feed = memoryFeed()
  const service = (name: string) =>
    createSessions({
      store,
      feed,
      roles: o.roles ?? roles,
      now: clock.now,
      transport: [cookieTransport(), headerTransport('Txn-Token')],
      credentials: [
        opaqueCredentials(),
        signedCredentials({ issuer, audience: name, keys }),
        assertionCredentials({ issuer, service: name, keys, ...(o.lifetime && { lifetime: o.lifetime }) }),
      ],
    })
  return { clock, service }
}

type AnySession = Session<Readonly<Record<string, unknown>>>

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, unknown>
}

describe('an assertion', () => {
  test('says to the service that it is for who the user is, and through whom the call came', async () => {
    const { service } = system()
    const [a, b, c] = ['a', 'b', 'c'].map(service)
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
    const [a, b, c] = ['a', 'b', 'c'].map(service)
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
    const [a, b] = ['a', 'b'].map(service)
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
    const [a, b, c] = ['a', 'b', 'c'].map(service)
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
    const [a, b] = ['a', 'b'].map(service)
    const { session } = await a!.start('ada', { roles: ['clerk'] })
    const token = await a!.assertionFor(session, 'b')
    assert.equal((await b!.open(token)).can('orders:write'), true)
    await a!.setRoles('ada', [])
    assert.equal((await b!.open(token)).refused, 'stale')
  })

  test('is made of no session that ended, however long ago it was opened: who follows the feed since then can not know', async () => {
    const { service, clock } = system()
    const a = service('a')
    const { session } = await a.start('ada')
    const { session: expired } = await a.start('bob')
    // As in a process whose feed brings nothing.
    const alone = service('a')
    await service('b').end(session.id!)
    await assert.rejects(alone.assertionFor(session, 'c'), { code: 'session-gone' })
    clock.advance('31m')
    await assert.rejects(alone.assertionFor(expired, 'c'), { code: 'session-gone' })
  })

  test('of a session that others went on using is good, and has the roles of now', async () => {
    const { service } = system()
    const [a, b] = ['a', 'b'].map(service)
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
    const [a, b] = ['a', 'b'].map(service)
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

test('over HTTP: the header Txn-Token opens the session of the service that is called', async () => {
  const { service } = system()
  const [a, b] = ['a', 'b'].map(service)
  const server = createServer(
    sessionHandler(
      b!,
      (_request, response, session) => void response.end(`${session.userId} ${session.can('orders:read')}`),
    ),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  try {
    const { session } = await a!.start('ada', { roles: ['clerk'] })
    const headers = { 'Txn-Token': await a!.assertionFor(session, 'b', { scope: ['stock:*'] }) }
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    assert.equal(await (await fetch(url, { method: 'POST', headers })).text(), 'ada false')
    assert.equal(await (await fetch(url)).text(), 'null false')
  } finally {
    server.close()
  }
})
