import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { opaqueCredentials } from '../../src/credentials/opaque.ts'
import * as node from '../../src/internal/crypto.node.ts'
import * as web from '../../src/internal/crypto.web.ts'
import { fakeRandom } from '../fixtures.ts'

const credentials = opaqueCredentials()

test('an id has 128 random bits, a secret 256, and the store gets the hash of the secret alone', async () => {
  const asked: number[] = []
  const random = fakeRandom()
  const { id, token, kept } = await credentials.issue((bytes) => {
    asked.push(bytes)
    return random(bytes)
  })
  assert.deepEqual(asked, [16, 32])
  const [first, secret] = token.split('.') as [string, string]
  assert.equal(first, id)
  assert.equal(Buffer.from(id, 'base64url').length, 16)
  assert.equal(Buffer.from(secret, 'base64url').length, 32)
  assert.equal(kept, createHash('sha256').update(secret).digest('base64url'))
  assert.ok(!kept.includes(secret))
})

test('what was issued is read and matches; any other secret does not', async () => {
  const { id, token, kept } = await credentials.issue(fakeRandom(1))
  const other = await credentials.issue(fakeRandom(2))
  const claim = credentials.read(token)!
  assert.equal(claim.id, id)
  assert.equal(await credentials.matches(claim, kept), true)
  assert.equal(await credentials.matches(claim, other.kept), false)
  assert.equal(await credentials.matches(claim, ''), false)
  assert.equal(await credentials.matches(claim, kept.slice(0, -1)), false)
})

test('every single changed character of a secret is noticed, the unused bits of the last one too', async () => {
  const { token, kept } = await credentials.issue(fakeRandom())
  const secretAt = token.indexOf('.') + 1
  for (let i = secretAt; i < token.length; i++) {
    for (const c of 'AZaz09-_') {
      const changed = token.slice(0, i) + c + token.slice(i + 1)
      if (changed !== token) assert.equal(await credentials.matches(credentials.read(changed)!, kept), false)
    }
  }
})

test('every character of what is kept counts, and its length', async () => {
  const { token, kept } = await credentials.issue(fakeRandom())
  const claim = credentials.read(token)!
  for (let i = 0; i < kept.length; i++) {
    const other = kept.slice(0, i) + (kept[i] === 'A' ? 'B' : 'A') + kept.slice(i + 1)
    assert.equal(await credentials.matches(claim, other), false)
  }
  assert.equal(await credentials.matches(claim, `${kept}A`), false)
})

test('malformed, truncated, oversized and foreign strings are read as nothing', async () => {
  const { token } = await credentials.issue(fakeRandom())
  const jwt = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.'
  for (const bad of [
    '',
    '.',
    token.slice(1),
    token.slice(0, -1),
    `${token}A`,
    `${token}=`,
    ` ${token}`,
    `${token} `,
    `${token}\n`,
    `\n${token}`,
    token.replace('.', ':'),
    token.replace('.', '..'),
    `${token}.${token}`,
    `"${token}"`,
    token.replace(/.$/, '+'),
    token.replace(/.$/, '/'),
    token.replace(/.$/, 'é'),
    token.replace(/.$/, '\0'),
    encodeURIComponent(`${token}é`),
    jwt,
    's:abc.def',
    'x'.repeat(1_000_000),
    token.repeat(1000),
  ]) {
    assert.equal(credentials.read(bad), null, JSON.stringify(bad.slice(0, 80)))
  }
})

test('hash and base64url are the same on Node and on WebCrypto', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), fc.uint8Array({ maxLength: 64 }), async (text, bytes) => {
      assert.equal(await web.sha256(text), await node.sha256(text))
      assert.equal(web.base64url(bytes), node.base64url(bytes))
      assert.equal(node.base64url(bytes), Buffer.from(bytes).toString('base64url'))
    }),
  )
})
