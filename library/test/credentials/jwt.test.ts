// The one strict form of a token: a table of malicious ones for each rule.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { openJwt, type Opened } from '../../src/credentials/jwt.ts'
import type { VerifyingKey, VerifyingKeys } from '../../src/credentials/keys.ts'
import { algorithms, b64, forge, forgeBytes, forgeParts, privateKey, publicKey, runtimes } from './signed-fixtures.ts'

const header = { alg: 'EdDSA', typ: 'at+jwt', kid: 'EdDSA-1' }
const claims = { sub: 'ada', n: 1 }
const good = forge(header, claims)
const [head, body, signature] = good.split('.') as [string, string, string]

/** Knows the keys of all algorithms, and notes what it was asked for. */
function keysOf(runtime: keyof typeof runtimes, asked: string[] = []): VerifyingKeys {
  const all = new Map<string, VerifyingKey>(
    algorithms.map((alg) => [`${alg}-1`, runtimes[runtime].verifying(publicKey(alg))]),
  )
  return { find: (kid) => (asked.push(kid), all.get(kid) ?? null) }
}

type Answer = Extract<Opened, { refused: string }>['refused'] | 'claims' | null

/** The last character of base64url with its unused bits set. */
function unusedBits(part: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1)!) + 1]!
}

const padded = JSON.stringify({ ...claims, a: 1 }).padEnd(22)
assert.equal(signature.length % 4, 2)

const table: readonly (readonly [rule: string, what: string, token: string, answer: Answer])[] = [
  ['J1', 'the token itself', good, 'claims'],
  ['J1', 'other claims under the same signature', `${head}.${b64('{"sub":"eve","n":1}')}.${signature}`, 'signature'],
  ['J1', 'no signature', `${head}.${body}.`, 'malformed'],
  ['J1', 'the signature of another key', forge(header, claims, 'ES256'), 'signature'],
  ['J1', 'encrypted, five parts', `${head}.${body}.${signature}.AA.AA`, null],
  ...['none', 'None', 'NONE', 'nOnE'].flatMap((alg): (typeof table)[number][] => [
    ['J2', `alg ${alg}, unsigned`, `${b64(JSON.stringify({ ...header, alg }))}.${body}.`, 'malformed'],
    ['J2', `alg ${alg}, with a signature`, forge({ ...header, alg }, claims), 'signature'],
  ]),
  ['J2', 'another algorithm than the key has', forge({ ...header, alg: 'ES256' }, claims), 'signature'],
  [
    'J2',
    'RS256 with a key for PS256',
    forge({ ...header, alg: 'RS256', kid: 'PS256-1' }, claims, 'RS256'),
    'signature',
  ],
  ['J2', 'alg in another case', forge({ ...header, alg: 'eddsa' }, claims), 'signature'],
  ['J2', 'no alg', forge({ typ: 'at+jwt', kid: 'EdDSA-1' }, claims), 'malformed'],
  ['J2', 'alg that is no text', forge({ ...header, alg: ['EdDSA'] }, claims), 'malformed'],
  ['J3', 'an address of keys', forge({ ...header, jku: 'https://evil.example/jwks' }, claims), 'malformed'],
  ['J3', 'an address of certificates', forge({ ...header, x5u: 'https://evil.example' }, claims), 'malformed'],
  ['J3', 'a key of its own', forge({ ...header, jwk: publicKey('EdDSA') }, claims), 'malformed'],
  ['J3', 'a certificate of its own', forge({ ...header, x5c: ['MII'] }, claims), 'malformed'],
  ['J3', 'a path as kid', forge({ ...header, kid: '../../etc/passwd' }, claims), 'unknown-key'],
  ['J3', 'SQL as kid', forge({ ...header, kid: "' OR 1=1 --" }, claims), 'unknown-key'],
  ['J3', '__proto__ as kid', forge({ ...header, kid: '__proto__' }, claims), 'unknown-key'],
  ['J3', 'no kid', forge({ alg: 'EdDSA', typ: 'at+jwt' }, claims), 'malformed'],
  ['J3', 'a list of kids', forge({ ...header, kid: ['EdDSA-1'] }, claims), 'malformed'],
  ['J5', 'no typ', forge({ alg: 'EdDSA', kid: 'EdDSA-1' }, claims), 'token-type'],
  ...['JWT', 'jwt', 'AT+JWT', 'application/at+jwt', 'logout+jwt', 'secevent+jwt', 'dpop+jwt', 'dbsc+jwt', ''].map(
    (typ): (typeof table)[number] => ['J5', `typ ${typ}`, forge({ ...header, typ }, claims), 'token-type'],
  ),
  ['J5', 'a list of types', forge({ ...header, typ: ['at+jwt'] }, claims), 'token-type'],
  ['J9', 'one part', head, null],
  ['J9', 'two parts', `${head}.${body}`, null],
  ['J9', 'four parts', `${good}.`, null],
  ['J9', 'nothing', '', null],
  ['J9', 'dots alone', '..', 'malformed'],
  ['J9', 'an opaque token', `${'i'.repeat(22)}.${'s'.repeat(43)}`, null],
  ['J9', 'a refresh token', `${'i'.repeat(22)}.${'f'.repeat(22)}.${'s'.repeat(43)}`, 'malformed'],
  ['J9', 'padding', `${good}==`, 'malformed'],
  ['J9', 'a space before', ` ${good}`, 'malformed'],
  ['J9', 'a line end after', `${good}\n`, 'malformed'],
  ['J9', 'a space within', `${head}.${body.slice(0, 4)} ${body.slice(4)}.${signature}`, 'malformed'],
  ['J9', 'unused bits of the signature', `${head}.${body}.${unusedBits(signature)}`, 'malformed'],
  [
    'J9',
    'unused bits of the header',
    forgeParts(unusedBits(b64(`${JSON.stringify(header)} `.trim())), body, 'EdDSA'),
    'malformed',
  ],
  ['J9', 'unused bits of the claims', forgeParts(head, unusedBits(b64(padded)), 'EdDSA'), 'malformed'],
  ['J9', 'a length that no bytes have', forgeParts(head, `${body.slice(0, 4)}A`, 'EdDSA'), 'malformed'],
  [
    'J9',
    'base64 that is not for URLs',
    forgeParts(head, Buffer.from('{"a":"???>>>"}').toString('base64'), 'EdDSA'),
    'malformed',
  ],
  ['J9', 'letters that are none of base64url', `${head}.${body}.${signature.slice(0, -1)}é`, 'malformed'],
  ['J10', 'an extension that must be understood', forge({ ...header, crit: ['exp'], exp: 1 }, claims), 'malformed'],
  ['J10', 'crit of nothing', forge({ ...header, crit: [] }, claims), 'malformed'],
  [
    'J10',
    'a payload that is not encoded',
    forgeParts(b64(JSON.stringify({ ...header, b64: false, crit: ['b64'] })), body, 'EdDSA'),
    'malformed',
  ],
  ['J10', 'b64: true', forge({ ...header, b64: true }, claims), 'malformed'],
  ['J10', 'a header that says what it does not need', forge({ ...header, cty: 'JWT' }, claims), 'malformed'],
  ['J11', 'more than 8,192 characters', forge(header, { ...claims, a: 'x'.repeat(8_192) }), 'malformed'],
  ['J11', 'a megabyte', forge(header, { ...claims, a: 'x'.repeat(1_000_000) }), 'malformed'],
  ['J11', 'compressed', forge({ ...header, zip: 'DEF' }, claims), 'malformed'],
  ['J11', 'a password as key', forge({ ...header, alg: 'PBES2-HS256+A128KW', p2c: 2 ** 31 }, claims), 'malformed'],
  [
    'J13',
    'a header with two kids',
    forge('{"alg":"EdDSA","typ":"at+jwt","kid":"ES256-1","kid":"EdDSA-1"}', claims),
    'malformed',
  ],
  [
    'J13',
    'a header with two types',
    forge('{"alg":"EdDSA","typ":"JWT","typ":"at+jwt","kid":"EdDSA-1"}', claims),
    'malformed',
  ],
  [
    'J13',
    'two algorithms, one of them escaped',
    forge('{"alg":"EdDSA","\\u0061lg":"EdDSA","typ":"at+jwt","kid":"EdDSA-1"}', claims),
    'malformed',
  ],
  ['J13', 'a claim twice', forge(header, '{"sub":"ada","sub":"eve"}'), 'malformed'],
  ['J13', 'the same claim twice', forge(header, '{"sub":"ada","sub":"ada"}'), 'malformed'],
  ['J13', 'a claim twice, once escaped', forge(header, '{"sub":"ada","\\u0073ub":"eve"}'), 'malformed'],
  ['J13', 'twice within a claim', forge(header, '{"sub":"ada","claims":{"a":1,"a":2}}'), 'malformed'],
  ['J13', 'twice within a list', forge(header, '{"a":[{"b":1,"b":1}]}'), 'malformed'],
  ['J13', '__proto__ twice', forge(header, '{"__proto__":1,"__proto__":2}'), 'malformed'],
  ['J13', 'a number beyond numbers', forge(header, '{"exp":1e400}'), 'malformed'],
  ['J13', 'a number with more digits than there are', forge(header, '{"exp":9007199254740993}'), 'malformed'],
  ['J13', 'a number that some read otherwise', forge(header, '{"exp":1.0}'), 'malformed'],
  ['J13', 'no JSON', forge(header, '{sub:"ada"}'), 'malformed'],
  ['J13', 'two JSON values', forge(header, '{"sub":"ada"}{"sub":"eve"}'), 'malformed'],
  ['J13', 'a byte order mark', forge(header, `\ufeff${JSON.stringify(claims)}`), 'malformed'],
  ['J13', 'a NUL at the end', forge(header, `${JSON.stringify(claims)}\0`), 'malformed'],
  [
    'J13',
    'invalid UTF-8',
    forgeBytes(Buffer.from(JSON.stringify(header)), Buffer.from('7b2261223a22ff227d', 'hex'), 'EdDSA'),
    'malformed',
  ],
  [
    'J13',
    'half a character of UTF-8',
    forgeBytes(Buffer.from(JSON.stringify(header)), Buffer.from('7b2261223a22f09f98227d', 'hex'), 'EdDSA'),
    'malformed',
  ],
  [
    'J13',
    'overlong UTF-8',
    forgeBytes(Buffer.from(JSON.stringify(header)), Buffer.from('7b2261223a22c0a2227d', 'hex'), 'EdDSA'),
    'malformed',
  ],
  ...['null', '1', '"text"', '[]', '[{"sub":"ada"}]', ''].flatMap((json): (typeof table)[number][] => [
    ['J13', `claims that are ${json}`, forge(header, json), 'malformed'],
    ['J13', `a header that is ${json}`, forge(json, claims), 'malformed'],
  ]),
]

for (const runtime of ['node', 'web'] as const) {
  for (const [rule, what, token, answer] of table) {
    test(`${runtime}, ${rule}: ${what}: ${answer}`, async () => {
      const opened = await openJwt(token, 'at+jwt', keysOf(runtime))
      assert.equal(opened === null ? null : 'refused' in opened ? opened.refused : 'claims', answer)
    })
  }

  test(`${runtime}, J2: a public key is nobody's secret`, async () => {
    for (const alg of ['EdDSA', 'ES256', 'RS256', 'PS256'] as const) {
      const jwk = publicKey(alg)
      const texts = [JSON.stringify(jwk), jwk['x'] ?? jwk['n']!]
      for (const text of texts) {
        const k = Buffer.from(text).toString('base64url')
        const secret = runtimes.node.signing({ kty: 'oct', k, alg: 'HS256', kid: `${alg}-1` })
        const token = await secret.sign('at+jwt', JSON.stringify(claims))
        assert.deepEqual(await openJwt(token, 'at+jwt', keysOf(runtime)), { refused: 'signature' })
      }
    }
  })

  test(`${runtime}: every algorithm opens, with claims of any text`, async () => {
    const value = { ...claims, text: 'ä€😀\u2028\ud800', nested: { __proto__: null, b: [1, -0.5, null, true] } }
    for (const alg of algorithms) {
      const token = await runtimes[runtime].signing(privateKey(alg)).sign('at+jwt', JSON.stringify(value))
      assert.deepEqual(await openJwt(token, 'at+jwt', keysOf(runtime)), {
        claims: JSON.parse(JSON.stringify(value)) as object,
      })
    }
  })
}

test('J5: a token of each kind is opened as that kind alone', () => {
  const kinds = ['at+jwt', 'logout+jwt', 'forward-auth+jwt']
  for (const typ of kinds)
    for (const wanted of kinds) {
      const opened = openJwt(forge({ ...header, typ }, claims), wanted, keysOf('node'))
      assert.deepEqual(opened, typ === wanted ? { claims } : { refused: 'token-type' })
    }
})

test('J1: claims are not read before the signature is checked, nor keys asked for by a token of another form', () => {
  const asked: string[] = []
  const broken = forge(header, 'no JSON')
    .replace(/.....$/, 'AAAAA')
    .replace(/.$/, 'A')
  assert.deepEqual(openJwt(broken, 'at+jwt', keysOf('node', asked)), { refused: 'signature' })
  assert.deepEqual(asked, ['EdDSA-1'])
  for (const [, , token, answer] of table)
    if (answer === null || answer === 'token-type') void openJwt(token, 'at+jwt', keysOf('node', asked))
  assert.deepEqual(asked, ['EdDSA-1'])
})

test('every order of the header is one: only its three members count', () => {
  for (const order of [
    ['kid', 'typ', 'alg'],
    ['typ', 'alg', 'kid'],
  ] as const)
    assert.deepEqual(
      openJwt(forge(Object.fromEntries(order.map((name) => [name, header[name]])), claims), 'at+jwt', keysOf('node')),
      { claims },
    )
})

test('what JSON.stringify writes is always read', () => {
  const keys = keysOf('node')
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()), (value) => {
      const json = JSON.stringify(value)
      const token = forge({ ...header, alg: 'HS256', kid: 'HS256-1' }, json, 'HS256')
      if (token.length > 8_192) return
      assert.deepEqual(openJwt(token, 'at+jwt', keys), { claims: JSON.parse(json) as object })
    }),
  )
})

test('no single changed character of a token opens', () => {
  const keys = keysOf('node')
  for (let i = 0; i < good.length; i++)
    for (const c of 'AZaz09-_.=') {
      const changed = good.slice(0, i) + c + good.slice(i + 1)
      if (changed === good) continue
      const opened = openJwt(changed, 'at+jwt', keys)
      assert.ok(opened === null || 'refused' in opened, `${i}: ${c}`)
    }
})

test('no string makes it throw', () => {
  const keys = keysOf('node')
  const part = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(head, body, signature, ''))
  fc.assert(
    fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
      const token = parts.join('.')
      const opened = openJwt(token, 'at+jwt', keys) as Opened | null
      assert.ok(opened === null || 'refused' in opened || token === good)
    }),
  )
})
