import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ConfigError } from '../../src/errors.ts'
import { cookieTransport, type CookieOptions } from '../../src/transport/cookie.ts'
import { duplicate, type HeaderOf, type Transport } from '../../src/transport/transport.ts'

const token = 'ZmFrZS1pZC1mb3ItdGVzdA.c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA'
const header =
  (cookie: string | null): HeaderOf =>
  (name) =>
    name === 'cookie' ? cookie : null
const none = header(null)
const extract = (cookie: string | null, o?: CookieOptions) => cookieTransport(o).extract(header(cookie))

test('the cookie is for this host, over HTTPS, out of reach of scripts, and gone with the browser', () => {
  assert.deepEqual(cookieTransport().attach(token, null, none), [
    `__Host-session=${token}; Path=/; Secure; HttpOnly; SameSite=Lax`,
  ])
})

test('a remembered cookie says for how many whole seconds', () => {
  assert.deepEqual(cookieTransport().attach(token, 90_061_999, none), [
    `__Host-session=${token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=90061`,
  ])
})

test('taking the cookie away repeats its attributes, or browsers would keep it', () => {
  assert.deepEqual(cookieTransport().clear(none), [
    '__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0',
  ])
  const framed = cookieTransport({ sameSite: 'none', partitioned: true })
  assert.deepEqual(framed.clear(none), [
    '__Host-session=; Path=/; Secure; HttpOnly; SameSite=None; Partitioned; Max-Age=0',
  ])
})

test('Domain, SameSite and Partitioned appear when asked for', () => {
  const transport = cookieTransport({
    name: '__Secure-id',
    sameSite: 'strict',
    domain: 'shop.example',
    partitioned: true,
  })
  assert.deepEqual(transport.attach(token, null, none), [
    `__Secure-id=${token}; Path=/; Secure; HttpOnly; SameSite=Strict; Domain=shop.example; Partitioned`,
  ])
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

/** Letters that differ from place to place, so that a part out of order would be seen. */
const long = (length: number) =>
  Array.from({ length: Math.ceil(length / 6) }, (_, i) => i.toString(36).padStart(6, '_'))
    .join('')
    .slice(0, length)

/** Name → value, as a browser keeps them after these lines. */
function kept(lines: readonly string[], before: Iterable<readonly [string, string]> = []): Map<string, string> {
  const cookies = new Map(before)
  for (const line of lines) {
    const pair = line.split(';')[0]!
    const name = pair.slice(0, pair.indexOf('='))
    if (line.includes('; Max-Age=0')) cookies.delete(name)
    else cookies.set(name, pair.slice(name.length + 1))
  }
  return cookies
}

const sent = (cookies: Iterable<readonly [string, string]>) =>
  [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')

const octets = (line: string) => Buffer.byteLength(line.split(';')[0]!.replace('=', ''))
/** What three cookies hold, and no character more. */
const most = 3 * (4096 - '__Host-session'.length - 3)

test('what fits into 4096 octets is one cookie, and what does not is cut into as few as it takes', () => {
  const transport = cookieTransport()
  for (const [length, count] of [
    [1, 1],
    [4082, 1],
    [4083, 2],
    [8158, 2],
    [8159, 3],
    [most, 3],
  ] as const) {
    const token = long(length)
    const lines = transport.attach(token, 60_000, none)!
    assert.equal(lines.length, count, String(length))
    for (const line of lines) {
      assert.ok(octets(line) <= 4096, `${octets(line)} octets`)
      assert.match(line, /^__Host-[^;]*; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=60$/)
    }
    assert.deepEqual(
      [...kept(lines).keys()],
      ['__Host-session', '__Host-session~1', '__Host-session~2'].slice(0, count),
    )
    assert.equal(transport.extract(header(sent(kept(lines)))), token)
  }
  assert.equal(octets(transport.attach(long(4082), null, none)![0]!), 4096)
})

test('what three cookies do not hold is not handed out, and says so', () => {
  assert.equal(cookieTransport().attach(long(most + 1), null, none), null)
  assert.equal(cookieTransport().refresh!.attach(long(most), null, none), null)
})

test('any token comes back whole, in any order of cookies and among any others, whatever was there before', () => {
  const name = fc.constantFrom('s', '__Host-session', `__Host-${'n'.repeat(121)}`)
  const lengths = fc.oneof(fc.integer({ min: 1, max: most }), fc.constantFrom(4080, 4082, 4083, 8158, 8159, most))
  fc.assert(
    fc.property(name, lengths, lengths, fc.infiniteStream(fc.nat()), (name, before, after, order) => {
      const transport = cookieTransport({ name })
      const first = transport.attach(long(before), null, none)
      const old = first === null ? new Map<string, string>() : kept(first)
      const lines = transport.attach(long(after), null, header(sent(old)))
      if (lines === null) return assert.ok(after > 3 * (4093 - name.length))
      const names = lines.map((line) => line.split('=')[0])
      assert.equal(new Set(names).size, names.length, 'one line for each name')
      const now = kept(lines, old)
      const shuffled = [...now, ['other', `${name}=x`] as const, [`${name}2`, 'x'] as const]
        .map((pair) => [order.next().value!, pair] as const)
        .toSorted(([a], [b]) => a - b)
        .map(([, pair]) => pair)
      assert.equal(transport.extract(header(sent(shuffled))), long(after))
      const count = after + name.length <= 4096 ? 1 : Math.ceil(after / (4093 - name.length))
      assert.equal(now.size, count, 'nothing is left of what was longer')
      assert.equal(kept(transport.clear(header(sent(now))), now).size, 0, 'and nothing after taking it away')
    }),
    { numRuns: 200 },
  )
})

test('a shorter token takes away the cookies of a longer one, with their attributes, and only those', () => {
  const request = header('__Host-session=~3.a; __Host-session~1=b; __Host-session~2=c; __Host-session~3=d; x~1=e')
  const attributes = '; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0'
  assert.deepEqual(cookieTransport().attach('short', null, request)!.slice(1), [
    `__Host-session~1=${attributes}`,
    `__Host-session~2=${attributes}`,
  ])
  assert.deepEqual(
    cookieTransport()
      .attach(long(5000), null, request)!
      .map((line) => line.split('=')[0]),
    ['__Host-session', '__Host-session~1', '__Host-session~2'],
  )
  assert.deepEqual(cookieTransport().clear(request), [
    `__Host-session=${attributes}`,
    `__Host-session~1=${attributes}`,
    `__Host-session~2=${attributes}`,
  ])
  const twice = header('__Host-session~2=c; __Host-session~2=d')
  assert.deepEqual(cookieTransport().clear(twice).slice(1), [`__Host-session~2=${attributes}`])
})

test('a set that is not whole is no credential, never a part of one', () => {
  const whole = '__Host-session=~3.aaa; __Host-session~1=bbb; __Host-session~2=ccc'
  assert.equal(extract(whole), 'aaabbbccc')
  for (const cookie of [
    '__Host-session=~3.aaa; __Host-session~1=bbb',
    '__Host-session=~3.aaa; __Host-session~2=ccc',
    '__Host-session=~2.aaa',
    '__Host-session=~2.aaa; __host-session~1=bbb',
    '__Host-session=~2.aaa; __Host-session~1',
    '__Host-session=~2.aaa; __Host-session~1x=bbb',
    '__Host-session=~2.aaa; __Host-session~01=bbb',
    '__Host-session=~2.aaa; a=__Host-session~1=bbb',
  ]) {
    assert.equal(extract(cookie), '~', cookie)
  }
  const rest = '__Host-session~1=b; __Host-session~2=c; __Host-session~3=d; __Host-session~4=e'
  for (const first of [
    '~',
    '~.',
    '~0.a',
    '~1.a',
    '~4.a',
    '~9.a',
    '~22.a',
    '~02.a',
    '~ 2.a',
    '~2a',
    '~2',
    '~-2.a',
    '~∞.',
  ]) {
    assert.equal(extract(`__Host-session=${first}; ${rest}`), '~', first)
  }
  assert.equal(extract(rest), null)
  assert.equal(extract(`__Host-session=plain; ${rest}`), 'plain')
  assert.equal(extract(`__Host-session=~2.a; ${rest}`), 'ab')
})

test('two of any cookie of a set are none', () => {
  for (const cookie of [
    '__Host-session=~2.a; __Host-session=~2.a; __Host-session~1=b',
    '__Host-session=~2.a; __Host-session~1=b; __Host-session~1=b',
    '__Host-session=~2.a; __Host-session~1=b; __Host-session=plain',
  ]) {
    assert.equal(extract(cookie), duplicate, cookie)
  }
})

test('refresh tokens have a cookie of their own, with the same attributes, which is never taken for the other', () => {
  const transport = cookieTransport({ name: '__Secure-id', sameSite: 'strict', domain: 'shop.example' })
  const refresh = transport.refresh as Transport
  assert.equal(refresh.refresh, null)
  assert.equal(refresh.ambient, true)
  assert.equal(refresh.reads, 'cookie')
  const attributes = '; Path=/; Secure; HttpOnly; SameSite=Strict; Domain=shop.example'
  assert.deepEqual(refresh.attach('r', 1000, none), [`__Secure-id-refresh=r${attributes}; Max-Age=1`])
  assert.deepEqual(refresh.clear(none), [`__Secure-id-refresh=${attributes}; Max-Age=0`])

  const both = header('__Secure-id-refresh=r; __Secure-id~1=c; __Secure-id=t; __Secure-id-refresh~1=d')
  assert.equal(transport.extract(both), 't')
  assert.equal(refresh.extract(both), 'r')
  assert.equal(transport.extract(header('__Secure-id-refresh=r')), null)
  assert.equal(refresh.extract(header('__Secure-id=t')), null)
  assert.equal(transport.extract(header('__Secure-id=~2.t; __Secure-id-refresh~1=d')), '~')
  assert.deepEqual(transport.clear(both).length, 2)
  assert.deepEqual(refresh.clear(both).length, 2)
})
