import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ConfigError } from '../src/errors.ts'
import { grants } from '../src/roles.ts'

test('a role grants what it names, and `orders:*` what begins with `orders:`', () => {
  const may = grants({ shopper: ['orders:read', 'cart:*'], admin: ['*'], nobody: [] })
  assert.equal(may(['shopper'], 'orders:read'), true)
  assert.equal(may(['shopper'], 'orders:write'), false)
  assert.equal(may(['shopper'], 'orders'), false)
  assert.equal(may(['shopper'], 'orders:read:all'), false)
  assert.equal(may(['shopper'], 'cart:add'), true)
  assert.equal(may(['shopper'], 'cart:items:add'), true)
  assert.equal(may(['shopper'], 'cart:'), false)
  assert.equal(may(['shopper'], 'cart'), false)
  assert.equal(may(['shopper'], 'cartography:read'), false)
  assert.equal(may(['admin'], 'anything'), true)
  assert.equal(may(['nobody'], 'orders:read'), false)
  assert.equal(may([], 'orders:read'), false)
})

test('unknown roles, and names every object has, grant nothing', () => {
  const may = grants({ shopper: ['orders:read'] })
  for (const role of ['ghost', '__proto__', 'constructor', 'toString', ''])
    assert.equal(may([role], 'orders:read'), false)
})

test('a wildcard asked for is a plain word: only a grant of everything covers it', () => {
  assert.equal(grants({ a: ['orders:read'] })(['a'], 'orders:*'), false)
  assert.equal(grants({ a: ['orders:*'] })(['a'], '*'), false)
})

test('a wildcard that is not the last part is refused at start-up', () => {
  for (const bad of ['*:read', 'orders:*:all', 'orders*', 'orders:**', '', ':*', '**']) {
    assert.throws(() => grants({ role: [bad] }), ConfigError, bad)
  }
})

const word = fc.stringMatching(/^[a-c]{1,2}$/)
const permission = fc.array(word, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(':'))
const grant = fc.oneof(
  permission,
  permission.map((prefix) => `${prefix}:*`),
  fc.constant('*'),
)

test('grants cover exactly what their parts say', () => {
  fc.assert(
    fc.property(fc.array(fc.array(grant, { maxLength: 3 }), { maxLength: 3 }), permission, (lists, asked) => {
      const roles = Object.fromEntries(lists.map((list, i) => [`role${i}`, list]))
      assert.equal(
        grants(roles)(Object.keys(roles), asked),
        lists.flat().some((one) => covers(one.split(':'), asked.split(':'))),
      )
    }),
    { numRuns: 3000 },
  )
})

function covers(grant: readonly string[], asked: readonly string[]): boolean {
  if (grant.at(-1) !== '*') return grant.join() === asked.join()
  const prefix = grant.slice(0, -1)
  return asked.length > prefix.length && prefix.every((part, i) => part === asked[i])
}

test('more roles never take anything away', () => {
  fc.assert(
    fc.property(fc.array(grant, { maxLength: 3 }), fc.array(grant, { maxLength: 3 }), permission, (a, b, asked) => {
      const may = grants({ a, b })
      assert.equal(may(['a', 'b'], asked), may(['a'], asked) || may(['b'], asked))
    }),
  )
})
