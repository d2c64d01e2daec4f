import assert from 'node:assert/strict'
import { hash, randomBytes } from 'node:crypto'
import { registerHooks } from 'node:module'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Credentials, Presented, Tokens } from '../../src/credentials/credentials.ts'
import { opaqueCredentials } from '../../src/credentials/opaque.ts'
import { sealedCredentials } from '../../src/credentials/sealed.ts'
import { ConfigError, DataError } from '../../src/errors.ts'
import { seal, unseal } from '../../src/internal/cipher.node.ts'
import { cookieTransport } from '../../src/transport/cookie.ts'
import { fakeRandom, record } from '../fixtures.ts'

const secret = randomBytes(32).toString('base64')
const other = randomBytes(32).toString('base64')
const credentials = sealedCredentials({ keys: secret })
const session = record({
  id: 'AAAAAAAAAAAAAAAAAAAAAA',
  credential: 'sealed',
  identity: '{"r":["shopper"]}',
  data: '{"cart":["tea"]}',
  version: 3,
})
const now = session.createdAt

/** On Node nothing waits, which each use of this proves. */
function tokenOf(of: Credentials, from = session): string {
  const tokens = of.reissue!(from)
  assert.ok(!(tokens instanceof Promise))
  return tokens.token
}

function present(of: Credentials, token: string, at = now): Presented | null {
  const presented = of.present(token, at)
  assert.ok(!(presented instanceof Promise))
  return presented
}

/** Why it is refused; `null` when the token is not of the form at all, `'accepted'` when it opens. */
function refusal(of: Credentials, token: string, at = now): string | null {
  const presented = present(of, token, at)
  if (presented === null) return null
  return presented.kind === 'refused' ? presented.reason : 'accepted'
}

test('the whole session comes back out of the token, data too', () => {
  assert.deepEqual(present(credentials, tokenOf(credentials)), {
    kind: 'proof',
    known: session,
    expiresAt: session.expiresAt,
    lifetimeMs: session.expiresAt - session.createdAt,
  })
})

test('any session comes back byte for byte', () => {
  const text = fc.string({ unit: 'binary', maxLength: 300 })
  const anyRecord = fc.record({
    userId: fc.option(text),
    identity: text,
    data: text,
    createdAt: fc.nat().map((ms) => now - ms),
    seenAt: fc.nat().map((ms) => now - ms),
    expiresAt: fc.integer({ min: 1 }).map((ms) => now + ms),
    epoch: fc.nat(),
    version: fc.integer({ min: 1 }),
  })
  fc.assert(
    fc.property(anyRecord, (parts) => {
      const whole = { ...session, ...parts }
      const presented = present(credentials, tokenOf(credentials, whole))
      assert.ok(presented?.kind === 'proof')
      assert.deepEqual(presented.known, whole)
    }),
  )
})

test('a new session has an id of 128 random bits, keeps its mark alone, and its token lives as long as it does', async () => {
  const asked: number[] = []
  const random = fakeRandom()
  const issued = await credentials.issue((bytes) => {
    asked.push(bytes)
    return random(bytes)
  })
  assert.deepEqual(asked, [16])
  assert.match(issued.id, /^[\w-]{22}$/)
  assert.ok(credentials.keeps(issued.kept))
  for (const kept of ['', 'seale', 'sealed ', 'A'.repeat(43)]) assert.equal(credentials.keeps(kept), false)
  const mine = { ...session, id: issued.id, credential: issued.kept }
  const { token, ...rest } = (await issued.tokens(mine)) as Tokens
  assert.deepEqual(rest, { refreshToken: null, expiresInMs: null })
  const presented = present(credentials, token)
  assert.ok(presented?.kind === 'proof')
  assert.deepEqual(presented.known, mine)
  assert.equal(credentials.kind, 'sealed')
  assert.equal(credentials.refresh, null)
})

test('nothing of the session can be read in the token, and no two tokens have the same nonce', () => {
  const secretive = { ...session, userId: 'somebody-in-particular', data: '{"notes":"nobody-else-may-read-this"}' }
  const tokens = Array.from({ length: 200 }, () => tokenOf(credentials, secretive))
  for (const token of tokens) {
    assert.match(token, /^v1\.[\w-]{8}\.[\w-]+$/)
    const text = Buffer.from(token.slice(12), 'base64url').toString('latin1')
    for (const word of ['somebody', 'nobody-else', session.id, 'notes']) assert.ok(!text.includes(word))
  }
  assert.equal(new Set(tokens.map((token) => token.slice(12, 28))).size, tokens.length)
})

test('the end is inside, and holds to the millisecond', () => {
  const token = tokenOf(credentials)
  assert.equal(refusal(credentials, token, session.expiresAt - 1), 'accepted')
  assert.deepEqual(present(credentials, token, session.expiresAt), {
    kind: 'refused',
    reason: 'expired',
    id: session.id,
  })
  assert.equal(refusal(credentials, token, Infinity), 'expired')
})

test('any changed bit, any cut and anything added is noticed', () => {
  const token = tokenOf(credentials)
  const [version, kid, sealed] = token.split('.') as [string, string, string]
  const bytes = Buffer.from(sealed, 'base64url')
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.equal(refusal(credentials, `${version}.${kid}.${flipped.toString('base64url')}`), 'signature')
  }
  for (let length = 1; length < sealed.length; length++)
    assert.equal(refusal(credentials, `${version}.${kid}.${sealed.slice(0, length)}`), 'signature')
  for (const tag of [4, 8, 12]) {
    const cut = bytes.subarray(0, bytes.length - 16 + tag)
    assert.equal(refusal(credentials, `${version}.${kid}.${cut.toString('base64url')}`), 'signature')
  }
  const character = fc.constantFrom(...'AZaz09-_.~ \n=+/%é'.split(''))
  fc.assert(
    fc.property(fc.nat(token.length), fc.nat(2), fc.string({ unit: character, maxLength: 3 }), (at, cut, put) => {
      const changed = token.slice(0, at) + put + token.slice(at + cut)
      if (changed !== token) assert.notEqual(refusal(credentials, changed), 'accepted', changed)
    }),
    { numRuns: 3000 },
  )
})

test('bytes have one spelling: the unused bits of the last character, padding and the other alphabet are refused', () => {
  for (const length of [0, 1, 2, 3]) {
    const token = tokenOf(credentials, { ...session, data: 'x'.repeat(length) })
    const bytes = Buffer.from(token.slice(12), 'base64url')
    let respelled = 0
    for (const last of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_') {
      const changed = token.slice(0, -1) + last
      if (changed === token) continue
      if (Buffer.from(changed.slice(12), 'base64url').equals(bytes)) respelled++
      assert.equal(refusal(credentials, changed), 'signature')
    }
    assert.equal(respelled, [0, 15, 3][bytes.length % 3])
    for (const padded of [`${token}=`, `${token}==`, `${token}\n`, `${token} `, ` ${token}`])
      assert.equal(refusal(credentials, padded), null)
  }
})

test('what is not of the form exactly is left to other kinds, however long', async () => {
  const token = tokenOf(credentials)
  const opaque = await opaqueCredentials().issue(fakeRandom())
  for (const text of [
    '',
    '~',
    'v1',
    'v1..',
    'v1.AAAAAAAA.',
    'v1.AAAAAAA.AAAA',
    'v1.AAAAAAAAA.AAAA',
    token.replace('v1', 'v2'),
    token.replace('v1', 'V1'),
    token.slice(3),
    `${token}.A`,
    `v1.${token}`,
    (await opaque.tokens(session)).token,
    'eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.',
    `v1.AAAAAAAA.${'A'.repeat(16_373)}`,
    `v1.AAAAAAAA.${'A'.repeat(10_000_000)}`,
  ]) {
    assert.equal(present(credentials, text), null, text.slice(0, 40))
  }
  assert.equal(refusal(credentials, `v1.AAAAAAAA.${'A'.repeat(16_372)}`), 'unknown-key')
  assert.equal(opaqueCredentials().present(token, now), null)
})

test('keys rotate: the first one seals, every one opens, and one that is gone opens nothing', () => {
  const [old, added] = [secret, other]
  const before = sealedCredentials({ keys: [old] })
  const during = sealedCredentials({ keys: [added, old] })
  const after = sealedCredentials({ keys: [added] })
  const ofOld = tokenOf(before)
  const ofNew = tokenOf(during)
  assert.equal(refusal(during, ofOld), 'accepted')
  assert.equal(refusal(during, ofNew), 'accepted')
  assert.equal(refusal(after, ofNew), 'accepted')
  assert.equal(refusal(after, ofOld), 'unknown-key')
  assert.equal(refusal(before, ofNew), 'unknown-key')
  assert.deepEqual(present(after, ofOld), { kind: 'refused', reason: 'unknown-key', id: null })
})

test("the name of another key does not open: not even this process's own", () => {
  const both = sealedCredentials({ keys: [secret, other] })
  const kid = tokenOf(sealedCredentials({ keys: other })).slice(3, 11)
  assert.equal(refusal(both, tokenOf(credentials).replace(/^v1\..{8}/, `v1.${kid}`)), 'signature')
})

test('what was sealed for one cookie opens in no other, under its own key or under another name', () => {
  const [a, b] = ['__Host-session', '__Host-admin'].map((name) => sealedCredentials({ keys: secret, name }))
  const token = tokenOf(a!)
  assert.equal(refusal(credentials, token), 'accepted')
  assert.equal(refusal(b!, token), 'unknown-key')
  const kid = tokenOf(b!).slice(3, 11)
  assert.equal(refusal(b!, `v1.${kid}.${token.slice(12)}`), 'signature')
})

/** Does what the code is meant to do by other words, so that a change of the format is seen. */
function keyOf(secret: string, name: string) {
  const hashed = (use: string) => hash('sha256', JSON.stringify([`holdfast sealed v1 ${use}`, name, secret]), 'buffer')
  return { key: hashed('key'), kid: hashed('kid').toString('base64url').slice(0, 8) }
}

test('format, key and name are bound into what is sealed, and the key itself is bound to the name', () => {
  const { key, kid } = keyOf(secret, '__Host-session')
  const token = tokenOf(credentials)
  const sealed = token.slice(12)
  const purpose = (...parts: string[]) => JSON.stringify(['holdfast sealed', ...parts])
  assert.equal(token.slice(3, 11), kid)
  assert.match(unseal(key, sealed, purpose('v1', kid, '__Host-session')) as string, /"cart"/)
  for (const wrong of [
    purpose('v2', kid, '__Host-session'),
    purpose('v1', 'AAAAAAAA', '__Host-session'),
    purpose('v1', kid, '__Host-admin'),
    '',
  ])
    assert.equal(unseal(key, sealed, wrong), null)
  assert.notDeepEqual(keyOf(secret, '__Host-admin').key, key)
  assert.notDeepEqual(key.toString('base64url').slice(0, 8), kid)
})

test('what a release with another idea of the content sealed is malformed, never half read', () => {
  const { key, kid } = keyOf(secret, '__Host-session')
  const foreign = (text: string) => {
    const purpose = JSON.stringify(['holdfast sealed', 'v1', kid, '__Host-session'])
    return `v1.${kid}.${seal(key, text, purpose, randomBytes) as string}`
  }
  const head = [session.id, 'ada', now, now, now + 1000, 1, 1, 2]
  assert.equal(refusal(credentials, foreign(`${JSON.stringify(head)}\n{}{}`)), 'accepted')
  const without = (at: number, ...instead: unknown[]) => (head as unknown[]).toSpliced(at, 1, ...instead)
  for (const [i, text] of [
    '',
    '\n',
    'null\n{}{}',
    '{}\n{}{}',
    '[]\n{}{}',
    JSON.stringify(head),
    JSON.stringify(head).slice(0, -1) + '\n{}{}',
    ...[
      [...head, 1],
      head.slice(0, -1),
      without(0, 'short'),
      without(0, null),
      without(0, `${session.id}A`),
      without(1, 1),
      without(1, ['ada']),
      without(2, `${now}`),
      without(4, null),
      without(4, true),
      without(5, [1]),
      without(7, -1),
      without(7, 5),
    ].map((wrong) => `${JSON.stringify(wrong)}\n{}{}`),
    `${JSON.stringify(head).replace(String(now + 1000), '1e400')}\n{}{}`,
  ].entries()) {
    assert.deepEqual(present(credentials, foreign(text)), { kind: 'refused', reason: 'malformed', id: null }, `${i}`)
  }
})

test('a session that no request could carry is not handed out', () => {
  const huge = { ...session, data: JSON.stringify({ cart: 'x'.repeat(13_000) }) }
  assert.throws(
    () => tokenOf(credentials, huge),
    (error) => error instanceof DataError && error.code === 'data-too-large',
  )
})

test('a session of 8 KB goes through cookies and back, and one cookie of another session spoils it', () => {
  const transport = cookieTransport()
  const cookiesOf = (data: string) =>
    transport
      .attach(tokenOf(credentials, { ...session, data }), null, () => null)!
      .map((line) => line.slice(0, line.indexOf(';')))
  const read = (cookies: readonly string[]) => transport.extract(() => cookies.join('; ')) as string
  const ada = cookiesOf(JSON.stringify({ cart: 'a'.repeat(8_000) }))
  const eve = cookiesOf(JSON.stringify({ cart: 'e'.repeat(8_000) }))
  assert.equal(ada.length, 3)
  assert.equal(refusal(credentials, read(ada)), 'accepted')
  for (let mask = 1; mask < 7; mask++) {
    const mixed = ada.map((cookie, i) => ((mask >> i) & 1 ? eve[i]! : cookie))
    assert.equal(refusal(credentials, read(mixed)), 'signature')
  }
  const swapped = [ada[0]!, ada[1]!.replace('~1=', '~2='), ada[2]!.replace('~2=', '~1=')]
  assert.equal(refusal(credentials, read(swapped)), 'signature')
  const moved = [ada[0]!.replace('~3.', '~2.'), ada[1]! + ada[2]!.replace(/^.*?=/, '')]
  assert.equal(refusal(credentials, read(moved)), 'accepted', 'the cuts alone mean nothing')
  for (let left = 0; left < 3; left++) {
    const some = ada.filter((_, i) => i !== left)
    const token = transport.extract(() => some.join('; '))
    assert.equal(token, left === 0 ? null : '~')
  }
  assert.equal(credentials.present('~', now), null)
})

test('keys that are none are refused at start-up, and no message says one', () => {
  const short = 'not-long-enough-to-be-a-secret!'
  for (const [options, message] of [
    [{ keys: [] }, /^keys: /],
    [{ keys: '' }, /^keys: /],
    [{ keys: short }, /^keys: /],
    [{ keys: [secret, short] }, /^keys: /],
    [{ keys: [secret, undefined] }, /^keys: /],
    [{ keys: undefined }, /^keys: /],
    [{ keys: secret, name: '' }, /^name: /],
  ] as const) {
    assert.throws(
      () => sealedCredentials(options as { keys: string }),
      (error) => error instanceof ConfigError && message.test(error.message) && !error.message.includes(short),
    )
  }
})

test('tokens are the same on WebCrypto: what one runtime seals opens on the other', async () => {
  const onWeb = (await importOnWeb('../../src/credentials/sealed.ts')) as {
    sealedCredentials: typeof sealedCredentials
  }
  const web = onWeb.sealedCredentials({ keys: [other, secret] })
  const node = sealedCredentials({ keys: [secret, other] })
  const pending = web.reissue!(session)
  assert.ok(pending instanceof Promise, 'this is the other implementation')
  const { token } = await pending
  const there = present(node, token)
  assert.ok(there?.kind === 'proof')
  assert.deepEqual(there.known, session)
  assert.deepEqual(await web.present(tokenOf(node), now), there)

  const reason = async (changed: string, at = now) => {
    const presented = await web.present(changed, at)
    return presented?.kind === 'refused' ? presented.reason : presented
  }
  assert.equal(await reason(token, session.expiresAt), 'expired')
  assert.equal(await reason(token.slice(0, -1)), 'signature')
  assert.equal(await reason(token.replace(/^v1.{9}/, 'v1.AAAAAAAA')), 'unknown-key')
  assert.equal(await reason(`${token}=`), null)
  await assert.rejects(async () => web.reissue!({ ...session, data: 'x'.repeat(13_000) }), DataError)
})

/** A module as runtimes without node:crypto load it. */
async function importOnWeb(path: string): Promise<unknown> {
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      const isOurs = context.parentURL?.endsWith('?web') === true && specifier.startsWith('#')
      return next(isOurs ? `../internal/${specifier.slice(1)}.web.ts` : specifier, context)
    },
  })
  try {
    return await import(`${path}?web`)
  } finally {
    hooks.deregister()
  }
}
