// The file of rules is checked at the start: each problem with its file, line and key.
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readRulesFile } from '../src/forward-auth/rules-file.ts'
import { readPeers } from '../src/forward-auth/trusted-peers.ts'
import { StartError } from '../src/start-error.ts'
import { rules as example, rulesFile } from './forward-auth-questions.ts'

function problemsOf(text: string): readonly string[] {
  try {
    readRulesFile(rulesFile(text))
  } catch (error) {
    assert.ok(error instanceof StartError)
    return error.problems.map((problem) => problem.replace(/^HOLDFAST_RULES: \S+?, /, ''))
  }
  return []
}

const rule = (more: string) => `rules:\n  - host: shop.example\n    path: /a\n    allow: signed-in\n    ${more}\n`

describe('the file of rules', () => {
  it('is YAML', () => {
    const { rules, signIn, roles } = readRulesFile(rulesFile(example))
    assert.equal(rules.length, 8)
    assert.deepEqual(rules[4]!.require, { permission: undefined, within: '5m', acr: undefined })
    assert.equal(signIn, '/sign-in')
    assert.deepEqual(roles['clerk'], ['orders:*'])
  })
  it('or JSON', () => {
    const text = JSON.stringify({ rules: [{ host: '*', path: '/*', allow: 'public' }] })
    assert.equal(readRulesFile(rulesFile(text)).rules[0]!.require, null)
  })
  it('names every problem, with its line and key', () => {
    const text = `signin: /x
rules:
  - host: Shop.example
    path: /orders/../x
    allow: everybody
  - host: shop.example
    path: /orders
    allow: public
    permission: orders:read
  - path: /x
    allow: public
`
    assert.deepEqual(
      problemsOf(text).map((problem) => problem.split(': ').slice(0, 2).join(': ')),
      [
        'line 3: rules[0].host',
        'line 4: rules[0].path',
        'line 5: rules[0].allow',
        'line 9: rules[1].permission',
        'line 10: rules[2].host',
        'line 1: signin',
      ],
    )
  })

  const wrong: readonly (readonly [what: string, text: string, expected: RegExp])[] = [
    [
      'a rule that asks something of the public',
      'rules: [{ host: a, path: /, allow: public, within: 5m }]',
      /line 1: rules\[0\]\.within: .*the rule is public/,
    ],
    ['an unknown key', rule('methdos: [GET]'), /line 5: rules\[0\]\.methdos: there is no such key/],
    [
      'a method in lower case',
      rule('methods: [get]'),
      /line 5: rules\[0\]\.methods\[0\]: expected a method in upper case/,
    ],
    [
      'a permission for several',
      rule("permission: 'orders:*'"),
      /line 5: rules\[0\]\.permission: expected one permission/,
    ],
    ['a duration without a unit', rule('within: 5'), /line 5: rules\[0\]\.within/],
    ['a key that is given twice', rule('path: /b'), /line 5: Map keys must be unique/],
    ['no rule', 'rules: []', /line 1: rules/],
    ['something else', '- a', /line 1: the file/],
    ['nothing', '', /line 1: the file/],
    ['broken YAML', 'rules: [', /line 1: /],
    ['aliases', 'rules: &a [*a]', /without aliases/],
    ['a sign-in page elsewhere', `signIn: https://evil.example/\n${rule('')}`, /line 1: signIn: expected a path/],
    ['a sign-in page that is none', `signIn: //evil.example\n${rule('')}`, /line 1: signIn/],
    ['an origin with a path', `trustedOrigins: [https://a.example/]\n${rule('')}`, /line 1: trustedOrigins\[0\]/],
  ]
  for (const [what, text, expected] of wrong) {
    it(`refuses ${what}`, () => {
      const problems = problemsOf(text)
      assert.equal(problems.length, 1, problems.join('\n'))
      assert.match(problems[0]!, expected)
    })
  }

  it('refuses hosts and paths that no request has', () => {
    const paths = [
      'orders',
      '',
      '//a',
      '/a/../b',
      '/a/./b',
      '/a;x',
      '/a?x',
      '/a#x',
      '/a%20',
      '/a\\\\b',
      '/a*',
      '/*/a',
      '/{a',
      '/a{b}',
      '/a//*',
    ]
    for (const path of paths)
      assert.equal(problemsOf(`rules: [{ host: '*', path: "${path}", allow: public }]`).length, 1, path)
    for (const host of ['', 'Shop.example', 'shop.example:443', 'shop.example.', '*shop', 'a.*.b', 'a/b', 'a,b'])
      assert.equal(problemsOf(`rules: [{ host: "${host}", path: /, allow: public }]`).length, 1, host)
    for (const path of ['/', '/*', '/a/', '/a/{id}/*', '/caf\u00e9/x y', '/.well-known/*', '/a.b'])
      assert.deepEqual(problemsOf(`rules: [{ host: '*', path: "${path}", allow: public }]`), [], path)
  })
  it('refuses a rule that is never reached', () => {
    const text = `rules:
  - { host: shop.example, path: /admin/users, allow: public }
  - { host: '*.example', path: /*, allow: public }
  - { host: shop.example, path: '/admin/*', allow: signed-in, permission: admin }
  - { host: shop.example, path: /admin/users, methods: [GET], allow: public }
  - { host: other, path: /*, allow: public }
`
    const problems = problemsOf(text)
    assert.match(problems[0]!, /^line 4: rules\[2\]: it never decides, since rules\[1\] before it fits all/)
    assert.match(problems[1]!, /^line 5: rules\[3\]: it never decides, since rules\[0\] before it/)
    assert.equal(problems.length, 2)
  })
  it('says when it is not there', () => {
    assert.throws(
      () => readRulesFile('/nowhere/rules.yaml'),
      /HOLDFAST_RULES: \/nowhere\/rules\.yaml can't be read: ENOENT/,
    )
  })
})

it('trusted proxies are addresses and networks', () => {
  assert.deepEqual(readPeers('10.0.0.0/8, 127.0.0.1,::1,fd00::/8'), ['10.0.0.0/8', '127.0.0.1', '::1', 'fd00::/8'])
  for (const text of [
    'proxy',
    '10.0.0.0/33',
    '::1/129',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '1.2.3',
    ',',
    '10.0.0.1;10.0.0.2',
    '0x7f.1',
  ])
    assert.throws(() => readPeers(text), /expected addresses or networks/, text)
})
