// What the claims of a good signature must be before they prove a session.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SignJWT, importJWK, jwtVerify } from 'jose'
import type { Presented } from '../../src/credentials/credentials.ts'
import { staticKeys } from '../../src/credentials/keys.ts'
import { signedCredentials, type SignedOptions } from '../../src/credentials/signed.ts'
import { DataError } from '../../src/errors.ts'
import type { RefusedReason } from '../../src/events.ts'
import { decodeIdentity, encodeIdentity, nobody } from '../../src/identity.ts'
import type { SessionRecord } from '../../src/store.ts'
import { fakeRandom, record } from '../fixtures.ts'
import { algorithms, forge, privateKey, publicKey } from './signed-fixtures.ts'

const issuer = 'https://accounts.example'
const audience = 'https://shop.example'
const now = Date.UTC(2026, 0, 1)
const at = now / 1000

const header = { alg: 'EdDSA', typ: 'at+jwt', kid: 'EdDSA-1' }
const sid = 's'.repeat(21) + 'A'
const claims = {
  iss: issuer,
  aud: audience,
  sub: 'ada',
  sid,
  exp: at + 300,
  iat: at,
  jti: 'j1',
  client_id: 'holdfast',
  roles: ['clerk'],
  amr: ['pwd', 'otp'],
  acr: 'urn:two',
  auth_time: at - 60,
  epoch: 3,
  claims: { tenant: 7 },
}

function credentials(o: Partial<SignedOptions> = {}, alg: (typeof algorithms)[number] = 'EdDSA') {
  return signedCredentials({ issuer, audience, keys: staticKeys({ keys: [privateKey(alg)] }), ...o })
}

function present(payload: object | string, o: Partial<SignedOptions> = {}, when = now): Presented {
  const presented = credentials(o).present(forge(header, payload), when)
  assert.ok(presented !== null && !(presented instanceof Promise))
  return presented
}

function proof(payload: object, o: Partial<SignedOptions> = {}, when = now) {
  const presented = present(payload, o, when)
  assert.equal(presented.kind, 'proof')
  return presented as Extract<Presented, { kind: 'proof' }>
}

/** The claims with some changed; `undefined` leaves one out. */
const but = (changes: object) => ({ ...claims, ...changes })
const raw = (claim: string, json: string) => JSON.stringify(but({ [claim]: '@' })).replace('"@"', json)

test('J15: what a good token proves', () => {
  assert.deepEqual(proof(claims), {
    kind: 'proof',
    known: {
      id: sid,
      userId: 'ada',
      credential: '',
      identity: '{"r":["clerk"],"c":{"tenant":7},"m":["pwd","otp"],"a":"urn:two"}',
      data: null,
      createdAt: now - 60_000,
      seenAt: now,
      expiresAt: now + 300_000,
      epoch: 3,
      version: 0,
    },
    expiresAt: now + 305_000,
    lifetimeMs: 300_000,
  })
  const least = proof(but({ roles: undefined, amr: undefined, acr: undefined, claims: undefined, client_id: 'till' }))
  assert.deepEqual(decodeIdentity(least.known.identity), { ...nobody, client: 'till' })
  assert.equal(proof(but({ sub: sid, guest: true })).known.userId, null)
})

const bad: readonly (readonly [rule: string, what: string, payload: object | string, reason: RefusedReason])[] = [
  ...['exp', 'iat', 'sub', 'sid', 'jti', 'client_id', 'auth_time', 'epoch'].map((claim): (typeof bad)[number] => [
    'J15',
    `no ${claim}`,
    but({ [claim]: undefined }),
    'malformed',
  ]),
  ...['exp', 'iat', 'nbf', 'auth_time', 'epoch'].flatMap((claim) =>
    ['"1767225900"', '-1', '1.5', '1e400', 'null', 'true', '[1767225900]', '{}', '9007199254740992', '1e300'].map(
      (json): (typeof bad)[number] => ['J4', `${claim} ${json}`, raw(claim, json), 'malformed'],
    ),
  ),
  ['J4', 'it ends before it begins', but({ iat: at, exp: at - 1 }), 'malformed'],
  ['J7', 'no aud', but({ aud: undefined }), 'audience'],
  ['J7', 'aud of another service', but({ aud: 'https://bank.example' }), 'audience'],
  ['J7', 'aud of others', but({ aud: ['https://bank.example', 'x'] }), 'audience'],
  ['J7', 'an empty list', but({ aud: [] }), 'audience'],
  ['J7', 'aud within aud', but({ aud: [[audience]] }), 'audience'],
  ['J7', 'a list that is not all text', but({ aud: [audience, 1] }), 'audience'],
  ['J7', 'aud longer than ours', but({ aud: `${audience}.evil` }), 'audience'],
  ['J7', 'aud null', but({ aud: null }), 'audience'],
  ['J8', 'no iss', but({ iss: undefined }), 'issuer'],
  ['J8', 'another issuer', but({ iss: 'https://evil.example' }), 'issuer'],
  ['J8', 'a list of issuers', but({ iss: [issuer] }), 'issuer'],
  ['J8', 'an issuer with a slash more', but({ iss: `${issuer}/` }), 'issuer'],
  ['J8', 'an issuer in another case', but({ iss: issuer.toUpperCase() }), 'issuer'],
  ['J15', 'sub that is no text', but({ sub: 7 }), 'malformed'],
  ['J15', 'an empty sub', but({ sub: '' }), 'malformed'],
  ['S7', 'sid that is no id of a session', but({ sid: '../../x' }), 'malformed'],
  ['S7', 'a list of sids', but({ sid: [sid] }), 'malformed'],
  ['J15', 'jti that is no text', but({ jti: 1 }), 'malformed'],
  ['J15', 'client_id that is no text', but({ client_id: {} }), 'malformed'],
  ['J15', 'roles that are no list', but({ roles: 'admin' }), 'malformed'],
  ['J15', 'roles that are no texts', but({ roles: [{ name: 'admin' }] }), 'malformed'],
  ['J15', 'amr that is no list', but({ amr: 'pwd' }), 'malformed'],
  ['J15', 'acr that is no text', but({ acr: 2 }), 'malformed'],
  ['J15', 'claims that are a list', but({ claims: [] }), 'malformed'],
  ['J15', 'claims that are null', but({ claims: null }), 'malformed'],
  ['J15', 'a guest with the name of a user', but({ guest: true }), 'malformed'],
  ['J15', 'a guest that is none', but({ guest: false, sub: sid }), 'malformed'],
]

for (const [rule, what, payload, reason] of bad) {
  test(`${rule}: ${what}: ${reason}`, () => {
    const presented = present(payload)
    assert.ok(presented.kind === 'refused')
    assert.equal(presented.reason, reason)
  })
}

test('whose session was refused is said where it is known, and never of what is not signed', async () => {
  assert.deepEqual(present(but({ iss: 'x' })), { kind: 'refused', reason: 'issuer', id: sid })
  assert.deepEqual(present(but({ sid: 'x' })), { kind: 'refused', reason: 'malformed', id: null })
  const token = forge(header, claims)
  const unsigned = `${token.slice(0, token.lastIndexOf('.'))}.${'A'.repeat(86)}`
  assert.deepEqual(await credentials().present(unsigned, now), { kind: 'refused', reason: 'signature', id: null })
})

test('J7: one of our audiences among theirs will do', () => {
  proof(but({ aud: ['x', audience] }))
  proof(claims, { audience: ['https://till.example', audience] })
})

test('T9: one tolerance, applied once, at both ends', () => {
  const judged = (payload: object, clockTolerance?: '5s' | '1s') => {
    const presented = present(payload, { clockTolerance })
    return presented.kind === 'refused' ? presented.reason : presented.kind
  }
  // RFC 7519, section 4.1.4: the current time must be before exp.
  for (const [exp, answer] of [
    [at + 1, 'proof'],
    [at, 'proof'],
    [at - 4, 'proof'],
    [at - 5, 'expired'],
    [at - 6, 'expired'],
  ] as const)
    assert.equal(judged(but({ exp, iat: at - 300 })), answer, String(exp))
  for (const claim of ['nbf', 'iat'])
    for (const [value, answer] of [
      [at, 'proof'],
      [at + 5, 'proof'],
      [at + 6, 'not-yet-valid'],
    ] as const)
      assert.equal(judged(but({ [claim]: value })), answer, `${claim} ${value}`)
  assert.equal(judged(but({ nbf: at + 5, iat: at + 5 })), 'proof')
  assert.equal(judged(but({ exp: at - 1, iat: at - 300 }), '1s'), 'expired')
  assert.equal(judged(but({ iat: at + 2 }), '1s'), 'not-yet-valid')
})

test('T9: to the millisecond', () => {
  assert.equal(present(claims, {}, (at + 305) * 1000 - 1).kind, 'proof')
  assert.equal(present(claims, {}, (at + 305) * 1000).kind, 'refused')
})

test('J13: __proto__ is a name like others', () => {
  const payload = `${JSON.stringify(claims).slice(0, -1)},"__proto__":{"roles":["admin"],"guest":true}}`
  const { known } = proof(JSON.parse(payload) as object)
  assert.deepEqual(decodeIdentity(known.identity).roles, ['clerk'])
  const within = proof(JSON.parse(JSON.stringify(claims).replace('"tenant":7', '"__proto__":{"admin":true}')) as object)
  const read = decodeIdentity(within.known.identity).claims
  assert.equal((read as { admin?: boolean }).admin, undefined)
  assert.equal(({} as { admin?: boolean }).admin, undefined)
})

async function issued(changes: Partial<SessionRecord> = {}, o: Partial<SignedOptions> = {}, alg?: 'ES256' | 'RS256') {
  const { id, tokens } = await credentials(o, alg).issue(fakeRandom())
  const kept = record({ id, createdAt: now - 90_500, seenAt: now + 250, expiresAt: now + 3_600_000, ...changes })
  return { id, kept, ...(await tokens(kept)) }
}

function parts(token: string): readonly [header: Record<string, unknown>, claims: Record<string, unknown>] {
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>
  const [head, body] = token.split('.') as [string, string]
  return [read(head), read(body)]
}

test('J15: a token has what RFC 9068 asks for, and nothing that is not said', async () => {
  const identity = encodeIdentity({
    ...nobody,
    roles: ['clerk'],
    amr: ['pwd'],
    acr: 'two',
    client: 'till',
    claims: { a: 1 },
  })
  const { id, token, expiresInMs } = await issued({ identity, epoch: 2 })
  const [head, body] = parts(token)
  assert.deepEqual(head, header)
  const { jti, ...rest } = body
  assert.match(jti as string, /^[\w-]{22}$/)
  assert.deepEqual(rest, {
    iss: issuer,
    aud: audience,
    sub: 'ada',
    sid: id,
    exp: at + 300,
    iat: at,
    client_id: 'till',
    roles: ['clerk'],
    amr: ['pwd'],
    acr: 'two',
    auth_time: at - 91,
    epoch: 2,
    claims: { a: 1 },
  })
  assert.equal(expiresInMs, 299_750)
  const guest = parts((await issued({ userId: null })).token)[1]
  assert.deepEqual([guest['sub'], guest['guest'], guest['client_id']], [guest['sid'], true, 'holdfast'])
  for (const claim of ['roles', 'amr', 'acr', 'claims']) assert.ok(!(claim in guest))
  assert.deepEqual(parts((await issued({}, { audience: ['a', 'b'], clientId: 'c' })).token)[1]['aud'], ['a', 'b'])
})

test('T7: no token outlives its session', async () => {
  const { token, expiresInMs } = await issued({ expiresAt: now + 20_900 })
  assert.equal(parts(token)[1]['exp'], at + 20)
  assert.equal(expiresInMs, 19_750)
})

test('what was issued comes back as the session it was issued for', async () => {
  const identity = encodeIdentity({ ...nobody, roles: ['ä'], amr: ['pwd'], claims: { ключ: ['😀'] }, client: 'till' })
  for (const userId of ['ada', null]) {
    const { id, kept, token } = await issued({ identity, userId, epoch: 4 })
    const presented = await credentials().present(token, now)
    assert.ok(presented?.kind === 'proof')
    const { known } = presented
    assert.deepEqual([known.id, known.userId, known.identity, known.epoch], [id, userId, identity, 4])
    assert.equal(known.createdAt, Math.floor(kept.createdAt / 1000) * 1000)
  }
})

test('device, address and data are not in a token', async () => {
  const device = { ...nobody.device, browser: 'Firefox', system: 'Linux', address: '192.0.2.7' }
  const { token } = await issued({ identity: encodeIdentity({ ...nobody, device }), data: '{"cart":["secret"]}' })
  const text = JSON.stringify(parts(token))
  for (const word of ['Firefox', '192.0.2.7', 'cart', 'secret']) assert.ok(!text.includes(word), word)
})

test('J11: what would be too long to be accepted is not issued', async () => {
  const claims = { text: 'x'.repeat(6_500) }
  await assert.rejects(issued({ identity: encodeIdentity({ ...nobody, claims }) }), DataError)
})

for (const alg of algorithms) {
  test(`${alg}: jose reads our tokens by the rules of RFC 9068, and we read jose's`, async () => {
    const ours = credentials({}, alg)
    const { id, tokens } = await ours.issue(fakeRandom())
    const { token } = await tokens(record({ id }))
    const rules = { issuer, audience, typ: 'at+jwt', algorithms: [alg], currentDate: new Date(record().seenAt) }
    const read = await jwtVerify(token, await importJWK({ ...publicKey(alg) }, alg), rules)
    assert.equal(read.payload['sid'], id)

    const theirs = await new SignJWT(claims)
      .setProtectedHeader({ alg, typ: 'at+jwt', kid: `${alg}-1` })
      .sign(await importJWK({ ...privateKey(alg) }, alg))
    const presented = await ours.present(theirs, now)
    assert.equal(presented?.kind === 'proof' && presented.known.id, sid)
  })
}

test('on Node a token with a known key is read at once', () => {
  assert.ok(!(credentials().present(forge(header, claims), now) instanceof Promise))
})
