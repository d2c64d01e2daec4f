import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bearerTransport } from '../../src/transport/bearer.ts'

const extract = (authorization: string | null) =>
  bearerTransport().extract((name) => (name === 'authorization' ? authorization : null))

test('the token is what follows the scheme, in any case and after any number of spaces', () => {
  for (const scheme of ['Bearer ', 'bearer ', 'BEARER   ']) assert.equal(extract(`${scheme}abc.def`), 'abc.def')
})

test('no header and other schemes are no credential', () => {
  for (const value of [
    null,
    '',
    'Bearer',
    'Bearer ',
    'Basic YTpi',
    'Bearerabc',
    ' Bearer abc',
    'Token abc',
    'Bearer\tabc',
  ]) {
    assert.equal(extract(value), null, JSON.stringify(value))
  }
})

test('everything after the scheme is the token, so that nothing is left out of the check', () => {
  assert.equal(extract('Bearer a, Bearer b'), 'a, Bearer b')
  assert.equal(extract('Bearer a b'), 'a b')
})

test('it hands out nothing by itself, and browsers send nothing by themselves', () => {
  const transport = bearerTransport()
  assert.equal(transport.ambient, false)
  assert.deepEqual(
    transport.attach('a', null, () => null),
    [],
  )
  assert.deepEqual(
    transport.clear(() => null),
    [],
  )
  assert.equal(transport.refresh, null)
  assert.equal(transport.reads, 'authorization')
})
