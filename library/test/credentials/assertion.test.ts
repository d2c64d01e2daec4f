// What an assertion must be before it proves a session, and how it came here.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { assertionCredentials } from '../../src/credentials/assertion.ts'
import type { Presented } from '../../src/credentials/credentials.ts'
import { staticKeys } from '../../src/credentials/keys.ts'
import { signedCredentials } from '../../src/credentials/signed.ts'
import { ConfigError } from '../../src/errors.ts'
import type { RefusedReason } from '../../src/events.ts'
import { fakeRandom, record } from '../fixtures.ts'
import { algorithms, b64, forge, forgeParts, privateKey, publicKey } from './signed-fixtures.ts'

const issuer = 'https://accounts.example'
const now = Date.UTC(2026, 0, 1)
const at = now / 1000
const keys = staticKeys({ keys: [privateKey('EdDSA')] })
const stock = assertionCredentials({ issuer, service: 'stock', keys })

const header = { alg: 'EdDSA', typ: 'txntoken+jwt', kid: 'EdDSA-1' }
const claims = {
  iss: issuer,
  aud: 'stock',
  sub: 'ada',
  sid: 's'.repeat(21) + 'A',
  exp: at + 60,
  iat: at,
  jti: 'j1',
  client_id: 'holdfast',
  roles: ['clerk'],
  auth_time: at - 60,
  epoch: 3,
  txn: 't1',
  scope: 'orders:read stock:*',
  req_wl: 'shop',
  act: { sub: 'shop', act: { sub: 'gate' } },
}
const but = (changes: object) => ({ ...claims, ...changes })

function present(token: string, when = now): Presented | null {
  const presented = stock.present(token, when)
  assert.ok(!(presented instanceof Promise))
  return presented
}
const refusedAs = (token: string, when = now): RefusedReason | null => {
  const presented = present(token, when)
  return presented?.kind === 'refused' ? presented.reason : null
}

test('what a good one proves: the session, through whom it came, and for what', () => {
  const presented = present(forge(header, claims))
  assert.ok(presented?.kind === 'proof')
  assert.deepEqual([presented.known.userId, presented.known.epoch, presented.lifetimeMs], ['ada', 3, 60_000])
  assert.deepEqual(presented.known.via, {
    transaction: 't1',
    callers: ['gate', 'shop'],
    scope: ['orders:read', 'stock:*'],
    expiresAt: now + 60_000,
  })
})

test('J5: only of its own type', () => {
  for (const typ of ['at+jwt', 'JWT', 'jwt', 'txntoken+JWT', 'application/txntoken+jwt', 'txn_token', '', undefined, 1])
    assert.equal(refusedAs(forge({ ...header, typ }, claims)), 'token-type', String(typ))
  const signed = signedCredentials({ issuer, audience: 'stock', keys })
  const there = signed.present(forge(header, claims), now)
  assert.deepEqual(there, { kind: 'refused', reason: 'token-type', id: null })
})

test('J1, J2, J3: only by a key of ours, and by its own algorithm', () => {
  const token = forge(header, claims)
  const [head, payload, signature] = token.split('.') as [string, string, string]
  for (const alg of ['none', 'None', 'HS256', 'ES256', 'eddsa']) {
    const other = b64(JSON.stringify({ ...header, alg }))
    assert.equal(refusedAs(`${other}.${payload}.${signature}`), 'signature', alg)
  }
  // The public key as the secret of a MAC.
  const confused = b64(JSON.stringify({ ...header, alg: 'HS256' }))
  const mac = createHmac('sha256', JSON.stringify(publicKey('EdDSA'))).update(`${confused}.${payload}`)
  assert.equal(refusedAs(`${confused}.${payload}.${mac.digest('base64url')}`), 'signature')
  assert.equal(refusedAs(forge(header, claims, 'ES256')), 'signature')
  assert.equal(refusedAs(forge({ ...header, kid: 'EdDSA-2' }, claims)), 'unknown-key')
  assert.equal(refusedAs(`${head}.${payload}.`), 'malformed')
  for (const more of [{ jwk: publicKey('ES256') }, { jku: 'https://evil.example' }, { crit: ['b64'], b64: false }])
    assert.equal(refusedAs(forge({ ...header, ...more }, claims)), 'malformed')
  const widened = b64(JSON.stringify(but({ scope: '*' })))
  assert.equal(refusedAs(`${head}.${widened}.${signature}`), 'signature')
  const twice = b64(JSON.stringify(claims).replace('"scope":', '"scope":"*","scope":'))
  assert.equal(refusedAs(forgeParts(head, twice, 'EdDSA')), 'malformed')
})

test('J7, J8: only of our issuer, for this service', () => {
  for (const aud of ['shop', 'Stock', 'stock ', '', [], ['shop'], undefined, null, { 0: 'stock' }])
    assert.equal(refusedAs(forge(header, but({ aud }))), 'audience', JSON.stringify(aud))
  for (const iss of ['https://accounts.example/', [issuer], undefined])
    assert.equal(refusedAs(forge(header, but({ iss }))), 'issuer')
})

test('T9: clocks may differ by 5 s, once', () => {
  const token = forge(header, claims)
  const until = (claims.exp + 5) * 1000
  assert.deepEqual([refusedAs(token, until - 1), refusedAs(token, until)], [null, 'expired'])
  const from = (claims.iat - 5) * 1000
  assert.deepEqual([refusedAs(token, from), refusedAs(token, from - 1)], [null, 'not-yet-valid'])
  for (const exp of [undefined, String(at + 60), at - 1, 1.5, -1, 1e300])
    assert.equal(refusedAs(forge(header, but({ exp }))), 'malformed', String(exp))
})

test('only with a whole chain, of eight services at most, whose last one says that it calls', () => {
  const nested = (length: number) =>
    Array.from({ length }).reduce<object | undefined>((act) => ({ sub: 'shop', act }), undefined)
  assert.equal(refusedAs(forge(header, but({ act: nested(8) }))), null)
  for (const changes of [
    { act: nested(9) },
    { act: nested(500) },
    { act: undefined },
    { act: null },
    { act: 'shop' },
    { act: { sub: '' } },
    { act: { sub: 'shop', act: null } },
    { act: { sub: 'shop', act: { sub: 1 } } },
    { act: { sub: 'gate', act: { sub: 'shop' } } },
    { req_wl: undefined },
    { req_wl: ['gate', 'shop'] },
    { txn: undefined },
    { txn: 7 },
    { scope: undefined },
    { scope: ['*'] },
    { sid: 'x' },
    { epoch: undefined },
  ])
    assert.equal(refusedAs(forge(header, but(changes))), 'malformed', JSON.stringify(changes).slice(0, 80))
  const empty = present(forge(header, but({ scope: '' })))
  assert.ok(empty?.kind === 'proof')
  assert.deepEqual(empty.known.via?.scope, [])
})

test('is made with every algorithm, and what is made is accepted', async () => {
  for (const alg of algorithms) {
    const own = staticKeys({ keys: [privateKey(alg)] })
    const shop = assertionCredentials({ issuer, service: 'shop', keys: own })
    const known = { ...record({ createdAt: now, seenAt: now, expiresAt: now + 90_000 }) }
    const { token, expiresInMs } = await shop.assert(known, 'stock', ['a'], now, fakeRandom())
    assert.equal(expiresInMs, 60_000)
    const presented = await assertionCredentials({ issuer, service: 'stock', keys: own }).present(token, now)
    assert.deepEqual(presented?.kind === 'proof' && presented.known.via?.scope, ['a'], alg)
  }
})

test('is not made without a key that signs, and with no options that are none', async () => {
  const verifying = assertionCredentials({ issuer, service: 'shop', keys: { find: (kid) => keys.find(kid) } })
  await assert.rejects(verifying.assert({ ...record({}) }, 'stock', ['*'], now, fakeRandom()), ConfigError)
  await assert.rejects(async () => stock.issue(fakeRandom()), /begins no session/)
  assert.throws(() => assertionCredentials({ issuer, service: 'a', keys: {} as never }), /keys/)
  assert.throws(() => assertionCredentials({ issuer: '', service: 'a', keys }), /issuer/)
})
