import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ConfigError } from '../../src/errors.ts'
import { cookieTransport, type CookieOptions } from '../../src/transport/cookie.ts'
import { duplicate } from '../../src/transport/transport.ts'

const token = 'ZmFrZS1pZC1mb3ItdGVzdA.c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA'
const extract = (cookie: string | null, o?: CookieOptions) =>
  cookieTransport(o).extract((name) => (name === 'cookie' ? cookie : null))

test('the cookie is for this host, over HTTPS, out of reach of scripts, and gone with the browser', () => {
  assert.equal(cookieTransport().attach(token, null), `__Host-session=${token}; Path=/; Secure; HttpOnly; SameSite=Lax`)
})

test('a remembered cookie says for how many whole seconds', () => {
  const line = cookieTransport().attach(token, 90_061_999)
  assert.equal(line, `__Host-session=${token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=90061`)
})

test('taking the cookie away repeats its attributes, or browsers would keep it', () => {
  assert.equal(cookieTransport().clear(), '__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0')
  const framed = cookieTransport({ sameSite: 'none', partitioned: true })
  assert.equal(framed.clear(), '__Host-session=; Path=/; Secure; HttpOnly; SameSite=None; Partitioned; Max-Age=0')
})

test('Domain, SameSite and Partitioned appear when asked for', () => {
  const transport = cookieTransport({
    name: '__Secure-id',
    sameSite: 'strict',
    domain: 'shop.example',
    partitioned: true,
  })
  assert.equal(
    transport.attach(token, null),
    `__Secure-id=${token}; Path=/; Secure; HttpOnly; SameSite=Strict; Domain=shop.example; Partitioned`,
  )
})

test('it is found among others, in any place', () => {
  for (const cookie of [
    `__Host-session=${token}`,
    `a=1; __Host-session=${token}`,
    `__Host-session=${token}; a=1`,
    `a=1;__Host-session=${token};b=2`,
    `;; __Host-session=${token} ;`,
    `__Host-session2=no; __Host-session=${token}; x__Host-session=no; a=__Host-session`,
    `a=__Host-session=no; __Host-session=${token}`,
  ]) {
    assert.equal(extract(cookie), token, cookie)
  }
})

test('only exactly its own name is the session cookie', () => {
  for (const cookie of [
    `__host-session=${token}`,
    `__HOST-Session=${token}`,
    `__Host-Session=${token}`,
    `\u00a0__Host-session=${token}`,
    // The same as node:http gives it: each UTF-8 byte a character of its own.
    `\u00c2\u00a0__Host-session=${token}`,
    `\u00e2\u0080\u0080__Host-session=${token}`,
    `__Host-session\u00a0=${token}`,
    `\u000b__Host-session=${token}`,
    `\u000c__Host-session=${token}`,
    `"__Host-session"=${token}`,
    `__Host-session${token}`,
    `__Host-session`,
    `__Host-session; =${token}`,
    `=__Host-session=${token}`,
    `a b __Host-session=${token}`,
    `%5F_Host-session=${token}`,
    '',
  ]) {
    assert.equal(extract(cookie), null, JSON.stringify(cookie))
  }
  assert.equal(extract(null), null)
})

test('quotes, $Version and nesting are not interpreted: the value is what stands there', () => {
  assert.equal(extract(`__Host-session="${token}"`), `"${token}"`)
  assert.equal(extract(`$Version=1; __Host-session=${token}; $Path=/`), token)
  assert.equal(extract(`$Version=1, __Host-session=${token}`), null)
  assert.equal(extract(`a="b; __Host-session=${token}"`), `${token}"`)
  assert.equal(extract(`a="x;y"; __Host-session=${token}`), token)
  assert.equal(extract(`__Host-session=%41`), '%41')
})

test('SP and HTAB around names and values are dropped, and nothing else', () => {
  assert.equal(extract(`a=1; \t __Host-session \t=\t ${token} \t; b=2`), token)
  for (const kept of ['\u00a0', '\u000b', '\u000c', '\u2000', '\ufeff', '\r', '\n']) {
    assert.equal(extract(`__Host-session=${token}${kept}`), `${token}${kept}`, JSON.stringify(kept))
    assert.equal(extract(`__Host-session=${kept}${token}`), `${kept}${token}`, JSON.stringify(kept))
  }
})

test('two session cookies are none, equal or not', () => {
  assert.equal(extract(`__Host-session=${token}; __Host-session=${token}`), duplicate)
  assert.equal(extract(`__Host-session=; a=1; __Host-session=${token}`), duplicate)
  assert.equal(extract(`__Host-session=${token}; __Host-Session=other`), token)
})

test('any header is read as RFC 6265bis, section 5.6, says, whatever the name', () => {
  const piece = fc.constantFrom(
    's',
    'id',
    '__Host-session',
    '=',
    ';',
    ' ',
    '\t',
    '"',
    ',',
    '$Version',
    'x',
    '\u00a0',
    '__host-session',
    '-',
  )
  const header = fc.oneof(
    fc.array(piece, { maxLength: 40 }).map((parts) => parts.join('')),
    fc
      .array(fc.tuple(piece, piece), { maxLength: 8 })
      .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('; ')),
  )
  const name = fc.constantFrom('s', 'id', 'x', '-', '__Host-session')
  fc.assert(
    fc.property(header, name, (cookie, name) => assert.equal(extract(cookie, { name }), reference(cookie, name))),
    { numRuns: 5000 },
  )
})

/** Slow and plain: split at semicolons, then at the first equals sign. */
function reference(header: string, name: string): string | null | typeof duplicate {
  const trim = (text: string) => text.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '')
  const values = header
    .split(';')
    .filter((pair) => pair.includes('='))
    .map((pair) => [trim(pair.slice(0, pair.indexOf('='))), trim(pair.slice(pair.indexOf('=') + 1))] as const)
    .filter(([own]) => own === name)
    .map(([, value]) => value)
  return values.length > 1 ? duplicate : (values[0] ?? null)
}

test('a header of many cookies is read in linear time', () => {
  const many = `${'__Host-session '.repeat(2000)}; ${' '.repeat(20_000)}; __Host-session=${token}`
  assert.equal(extract(many), token)
})

test('what browsers would drop or misread is refused at start-up', () => {
  const refused: readonly [CookieOptions, RegExp][] = [
    [{ name: '' }, /name/],
    [{ name: 'a b' }, /name/],
    [{ name: 'a;b' }, /name/],
    [{ name: 'a=b' }, /name/],
    [{ name: 'a\r\nSet-Cookie: b' }, /name/],
    [{ name: 'sess\u00a0ion' }, /name/],
    [{ name: 'n'.repeat(129) }, /name/],
    [{ sameSite: 'Lax; Domain=evil' as 'lax' }, /sameSite/],
    [{ sameSite: 'none' }, /partitioned/],
    [{ domain: 'shop.example' }, /__Host-/],
    [{ name: '__hOsT-x', domain: 'shop.example' }, /__Host-/],
    [{ name: 'id', domain: 'shop.example; Secure' }, /domain/],
    [{ name: 'id', domain: 'shop.example\r\nX: y' }, /domain/],
    [{ name: 'id', domain: 'shop.example\n' }, /domain/],
    [{ name: 'id', domain: '' }, /domain/],
    [{ name: 'id', domain: `${'a'.repeat(1100)}.example` }, /domain/],
  ]
  for (const [options, message] of refused) {
    assert.throws(
      () => cookieTransport(options),
      (error) => error instanceof ConfigError && message.test(error.message),
      JSON.stringify(options).slice(0, 80),
    )
  }
})

test('name and value stay far below the 4096 octets that browsers keep', () => {
  const longest = cookieTransport({ name: `__Host-${'n'.repeat(121)}` }).attach(token, null)!
  assert.ok(longest.split(';')[0]!.length <= 4096)
})
