// A request has one reading or none: whatever a lenient server behind the proxy would take for a protected path is never let through as another.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { canonicalHost, canonicalPath } from '../src/forward-auth/canonical.ts'
import { hides, ruleFinder, type Rule } from '../src/forward-auth/rules.ts'

const open = { methods: null, require: null, audience: null }
const rules: readonly Rule[] = [
  { ...open, name: 'public', host: '*', path: '/public/*' },
  { ...open, name: 'admin', host: '*', path: '/admin/*', require: { permission: 'admin' } },
  { ...open, name: 'invoice', host: '*', path: '/orders/{id}/invoice', require: { permission: 'invoices' } },
  { ...open, name: 'rest', host: '*', path: '/*' },
]
const find = ruleFinder(rules)

/** The name of the rule that decides; `denied` when there is none. */
function ruleOf(target: string): string {
  const path = canonicalPath(target)
  const rule = path === null ? 'ambiguous' : find('shop.example', path, 'GET')
  return rule === null || rule === 'ambiguous' ? 'denied' : rule.name
}

describe('paths have one form', () => {
  const plain: readonly (readonly [target: string, rule: string])[] = [
    ['/admin', 'admin'],
    ['/admin/', 'admin'],
    ['/admin/users', 'admin'],
    ['/admin?next=/public/a//..;%2f', 'admin'],
    ['/%61dmin', 'admin'],
    ['/%61%64%6D%69%6e/x', 'admin'],
    ['/adm%69n/users?', 'admin'],
    ['/administrators', 'rest'],
    ['/orders/17/invoice', 'invoice'],
    ['/orders/17/invoice/', 'invoice'],
    ['/orders/%31%37/invoice', 'invoice'],
    ['/orders/17', 'rest'],
    ['/public', 'public'],
    ['/public/caf%C3%A9', 'public'],
    ['/.well-known/acme-challenge/x', 'rest'],
    ['/v1.2/a~b/c_d-e', 'rest'],
    ['/', 'rest'],
    ['/?a', 'rest'],
  ]
  for (const [target, rule] of plain) it(`${target} is judged by ${rule}`, () => assert.equal(ruleOf(target), rule))

  const attempts = [
    '//admin',
    '/admin//users',
    '///admin',
    '/public//admin',
    '//evil.example/admin',
    '/public//../admin',
    '/./admin',
    '/admin/.',
    '/public/../admin',
    '/public/..',
    '/..',
    '/../admin',
    '/a/b/../../admin',
    '/.../admin',
    '/%2e/admin',
    '/public/%2e%2e/admin',
    '/public/.%2e/admin',
    '/public/%2E./admin',
    '/public/..%2fadmin',
    '/public/%252e%252e/admin',
    '/%2561dmin',
    '/%25%36%31dmin',
    '/admin%252fusers',
    '/a%2541',
    '/%25%32%66admin',
    '/admin;x',
    '/admin;x=1/users',
    '/;/admin',
    '/public;/../admin',
    '/admin%3bx',
    '/public/..;/admin',
    '/.;/admin',
    '/public\\..\\admin',
    '\\admin',
    '/\\admin',
    '/public%5c..%5cadmin',
    '/public/..%5Cadmin',
    '/%5cadmin',
    '/public%2f..%2fadmin',
    '/public%2F../admin',
    '/%2fadmin',
    '/admin%2fusers',
    '/admin%2F',
    '/public/x#/../admin',
    '/admin#',
    '/public%23/../admin',
    '/public#admin',
    '/public/a?x#y',
    '/admin%3fx',
    '/public%3f/../admin',
    '/admin%00',
    '/public/%00/admin',
    '/admin%0a',
    '/admin%0d%0aX: y',
    '/admin%09',
    '/admin%7f',
    '/admin\0',
    '/admin\n',
    '/admin users',
    '/admin	',
    '/admin%c2%85',
    '/%c0%ae%c0%ae/admin',
    '/public/%c0%afadmin',
    '/%e0%80%afadmin',
    '/admin%ff',
    '/%f0%80%80%af',
    '/admin%c3',
    '/%ed%a0%80',
    '/admin%',
    '/admin%4',
    '/%zzadmin',
    '/admin%u002f',
    '/%',
    '/adm%69%',
    '/adminé',
    '/ADMIN',
    '/Admin/users',
    '/aDmin',
    '/%41dmin',
    '/admin.',
    '/admin./users',
    '/admin%20',
    '/admin%20/users',
    '/%EF%BD%81dmin',
    '/adm%C4%B1n%EF%BC%8Fx',
    '/adm%C4%B1n',
    '/adm%C4%B0n',
    '/%C3%A1dmin',
    '/a%CC%81dmin',
    '/ad%C2%ADmin',
    '/admin%E2%80%8B',
    '/%E2%80%8Badmin',
    '/%20admin',
    '/%C2%A0admin',
    '/admin%C2%A0.%20',
    '/%20/admin',
    '/%E2%80%8B/admin',
    '/public/.%E2%80%8B./admin',
    '/%EF%BC%8Fadmin',
    '/public/%EF%BC%8E%EF%BC%8E/admin',
    '/%E2%80%A5/admin',
    '/orders/17/Invoice',
    '/orders/17/invoice.',
    '/Orders/17/invoice',
    '/orders/17%2finvoice',
    '/orders/17;v=1/invoice',
    'http://shop.example/public',
    'https://shop.example/admin',
    '//shop.example',
    'admin',
    '*',
    '',
    '?',
    'shop.example:443',
    '#',
    '/PUBLIC/x',
    '/a"b',
    '/a<b>',
    '/a|b',
    '/a[0]',
    '/{id}',
    '/a^b',
    '/a`b',
    `/${'a'.repeat(9e3)}`,
  ]
  it(`${attempts.length} attempts are refused`, () => {
    assert.ok(attempts.length >= 60)
    const through = attempts.filter((target) => ruleOf(target) !== 'denied')
    assert.deepEqual(through, [])
  })
})

/** What servers are known to make of a target, each step at will. */
const readings: readonly ((path: string) => string)[] = [
  (path) => path.replace(/%([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
  (path) => path.replaceAll('\\', '/'),
  (path) => path.replace(/;[^/]*/g, ''),
  (path) => path.replace(/[?#\0].*/s, ''),
  (path) => path.replace(/^https?:\/\/[^/]*/i, ''),
  (path) => path.replace(/\/{2,}/g, '/'),
  (path) => path.normalize('NFKC'),
  (path) => path.toLowerCase(),
  (path) => path.replace(/[. ]+(?=\/|$)/g, (dots) => (/^\.{1,2}$/.test(dots) ? dots : '')),
  (path) => new URL(path, 'http://a').pathname,
]

/** Whether some server sees a path below `/admin`. */
function looksProtected(target: string): boolean {
  const seen = new Set([target])
  for (const path of seen) {
    if (/^\/admin(\/|$)/.test(path)) return true
    for (const read of readings) {
      let next = path
      try {
        next = read(path)
      } catch {
        // That one has no reading of it.
      }
      if (seen.size < 64) seen.add(next)
    }
  }
  return false
}

const piece = fc.constantFrom(
  '/',
  '//',
  '/./',
  '/x/../',
  '\\',
  '%2f',
  '%5c',
  ';a=b',
  '%3b',
  '.',
  '%2e',
  ' ',
  '%20',
  '%00',
  '#',
  '%23',
  '?',
  '%25',
  '\uFF0F',
  '%EF%BC%8F',
)
/** One letter of a name, as some servers would still read it. */
const letter = (c: string) => {
  const hex = c.charCodeAt(0).toString(16)
  const wide = encodeURIComponent(String.fromCharCode(c.charCodeAt(0) + 0xfee0))
  return fc.constantFrom(c, c, c, `%${hex}`, `%25${hex}`, c.toUpperCase(), wide)
}
const disguised = fc
  .tuple(
    fc.array(fc.oneof(piece, fc.constant('/public/..')), { maxLength: 2 }),
    fc.tuple(...'admin'.split('').map(letter)),
    fc.array(piece, { maxLength: 2 }),
    fc.constantFrom('', '/users', '?x=1'),
  )
  .map(([before, admin, after, end]) => `${before.join('')}/${admin.join('')}${after.join('')}${end}`)

it('no disguise of a protected path is judged by a weaker rule', () => {
  let protectedOnes = 0
  fc.assert(
    fc.property(disguised, (target) => {
      if (!looksProtected(target)) return
      protectedOnes++
      assert.match(ruleOf(target), /^(denied|admin)$/, target)
    }),
    { numRuns: 2_000 },
  )
  assert.ok(protectedOnes > 500, `only ${protectedOnes} of them were any`)
})

describe('hosts have one form', () => {
  const same = ['shop.example', 'SHOP.example', 'shop.example.', 'shop.example:443', 'Shop.Example.:8443']
  for (const text of same) it(text, () => assert.equal(canonicalHost(text), 'shop.example'))
  it('addresses', () => {
    assert.equal(canonicalHost('127.0.0.1:4000'), '127.0.0.1')
    assert.equal(canonicalHost('[::1]:4000'), '[::1]')
  })
  const none = [
    '',
    '.',
    '..',
    'shop..example',
    '.shop.example',
    'shop.example..',
    'shop.example:',
    'shop.example:x',
    'shop.example:443:1',
    'a@shop.example',
    'shop.example/admin',
    'shop.example?x',
    'shop.example#',
    'shop.example,evil.example',
    'shop example',
    'shop.example	',
    'shop%2eexample',
    'shöp.example',
    '::1',
    '[::1',
    '[::1]x',
    '*',
    '-a.example',
    'shop.example\0',
    `${'a'.repeat(300)}.example`,
  ]
  it(`${none.length} that are none`, () => {
    assert.deepEqual(
      none.filter((text) => canonicalHost(text) !== null),
      [],
    )
  })
})

describe('the first rule that fits decides', () => {
  const one = (o: Partial<Rule>): Rule => ({ ...open, name: JSON.stringify(o.path), host: '*', path: '/*', ...o })
  const name = (list: readonly Rule[], host: string, target: string, method = 'GET') => {
    const rule = ruleFinder(list)(host, canonicalPath(target)!, method)
    return rule === null || rule === 'ambiguous' ? rule : rule.name
  }

  it('in the order of the file', () => {
    const list = [one({ name: 'a', path: '/a/*' }), one({ name: 'b', path: '/a/b' })]
    assert.equal(name(list, 'h', '/a/b'), 'a')
  })
  it('by host: exact, below a domain, or any', () => {
    const list = [one({ name: 'exact', host: 'shop.example' }), one({ name: 'below', host: '*.shop.example' })]
    assert.equal(name(list, 'shop.example', '/'), 'exact')
    assert.equal(name(list, 'a.b.shop.example', '/'), 'below')
    assert.equal(name(list, 'evilshop.example', '/'), null)
    assert.equal(name(list, '.shop.example', '/'), null)
  })
  it('by method, where GET is HEAD too, and OPTIONS and the unknown are methods as any other', () => {
    const list = [one({ name: 'get', methods: new Set(['GET']) })]
    for (const method of ['GET', 'HEAD']) assert.equal(name(list, 'h', '/', method), 'get')
    assert.equal(name([one({ methods: new Set(['HEAD']) })], 'h', '/'), null)
    for (const method of ['OPTIONS', 'TRACE', 'POST', 'PURGE']) assert.equal(name(list, 'h', '/', method), null)
  })
  it('by path: segments in braces are one segment, never none', () => {
    const list = [one({ name: 'it', path: '/a/{id}/c' })]
    assert.equal(name(list, 'h', '/a/b/c'), 'it')
    assert.equal(name(list, 'h', '/a/b/b/c'), null)
    assert.equal(name(list, 'h', '/a/c'), null)
  })
  it('by path: the case of letters makes no other rule, and none that fits', () => {
    const list = [one({ name: 'docs', path: '/Docs' }), one({ name: 'any', path: '/*' })]
    assert.equal(name(list, 'h', '/Docs'), 'docs')
    for (const target of ['/docs', '/DOCS']) assert.equal(name(list, 'h', target), 'ambiguous')
  })
  it('and nobody may where none fits', () => assert.equal(name([one({ path: '/a' })], 'h', '/b'), null))
})

it('a rule is hidden by one before it exactly when it can never decide', () => {
  const anyRule = fc.record({
    name: fc.constant('any'),
    host: fc.constantFrom('*', '*.b', '*.a.b', 'a.b', 'x.a.b', 'c'),
    path: fc
      .array(fc.constantFrom('a', 'b', '{id}'), { maxLength: 3 })
      .chain((parts) => fc.constantFrom(`/${parts.join('/')}`, `/${[...parts, '*'].join('/')}`)),
    methods: fc.option(fc.uniqueArray(fc.constantFrom('GET', 'HEAD', 'POST'), { minLength: 1 })),
  })
  const hosts = ['b', 'a.b', 'x.a.b', 'y.x.a.b', 'c', 'd']
  const segments = ['a', 'b', 'c']
  const paths = ['/']
  for (let i = 0; paths.length < 121; i++)
    for (const one of segments) paths.push(`${paths[i]}/${one}`.replace('//', '/'))
  const questions = hosts.flatMap((host) =>
    paths.flatMap((path) =>
      ['GET', 'HEAD', 'POST', 'PUT'].map((method) => [host, canonicalPath(path)!, method] as const),
    ),
  )
  fc.assert(
    fc.property(anyRule, anyRule, (first, second) => {
      const [earlier, later] = [first, second].map(({ methods, ...rule }) => {
        return { ...open, ...rule, methods: methods && new Set(methods) }
      }) as [Rule, Rule]
      const [alone, both] = [ruleFinder([later]), ruleFinder([earlier, later])]
      const decides = questions.some(([host, path, method]) => {
        return alone(host, path, method) === later && both(host, path, method) === later
      })
      assert.equal(hides(earlier, later), !decides)
    }),
    { numRuns: 1000 },
  )
})
