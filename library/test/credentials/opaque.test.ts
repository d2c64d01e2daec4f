import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { opaqueCredentials } from '../../src/credentials/opaque.ts'
import * as node from '../../src/internal/crypto.node.ts'
import * as web from '../../src/internal/crypto.web.ts'
import { fakeRandom, record } from '../fixtures.ts'

const credentials = opaqueCredentials()

async function issued(seed = 1) {
  const { id, kept, tokens } = await credentials.issue(fakeRandom(seed))
  return { id, kept, token: (await tokens(record())).token }
}

async function matches(token: string, kept: string): Promise<boolean> {
  const presented = credentials.present(token, 0)
  assert.ok(presented !== null && !(presented instanceof Promise) && presented.kind === 'reference')
  return presented.matches(kept)
}

test('an id has 128 random bits, a secret 256, and the store gets the hash of the secret alone', async () => {
  const asked: number[] = []
  const random = fakeRandom()
  const { id, kept, tokens } = await credentials.issue((bytes) => {
    asked.push(bytes)
    return random(bytes)
  })
  const { token, refreshToken, expiresInMs } = await tokens(record())
  assert.deepEqual([refreshToken, expiresInMs], [null, null])
  assert.deepEqual(asked, [16, 32])
  const [first, secret] = token.split('.') as [string, string]
  assert.equal(first, id)
  assert.equal(Buffer.from(id, 'base64url').length, 16)
  assert.equal(Buffer.from(secret, 'base64url').length, 32)
  assert.equal(kept, createHash('sha256').update(secret).digest('base64url'))
  assert.ok(!kept.includes(secret))
})

test('what was issued is read and matches; any other secret does not', async () => {
  const { id, token, kept } = await issued(1)
  const other = await issued(2)
  const presented = await credentials.present(token, 0)
  assert.equal(presented?.kind === 'reference' && presented.id, id)
  assert.deepEqual(
    [credentials.keeps(kept), credentials.keeps(`{${kept}`), credentials.keeps('')],
    [true, false, false],
  )
  assert.equal(await matches(token, kept), true)
  assert.equal(await matches(token, other.kept), false)
  assert.equal(await matches(token, ''), false)
  assert.equal(await matches(token, kept.slice(0, -1)), false)
})

test('every single changed character of a secret is noticed, the unused bits of the last one too', async () => {
  const { token, kept } = await issued()
  const secretAt = token.indexOf('.') + 1
  for (let i = secretAt; i < token.length; i++) {
    for (const c of 'AZaz09-_') {
      const changed = token.slice(0, i) + c + token.slice(i + 1)
      if (changed !== token) assert.equal(await matches(changed, kept), false)
    }
  }
})

test('every character of what is kept counts, and its length', async () => {
  const { token, kept } = await issued()
  for (let i = 0; i < kept.length; i++) {
    const other = kept.slice(0, i) + (kept[i] === 'A' ? 'B' : 'A') + kept.slice(i + 1)
    assert.equal(await matches(token, other), false)
  }
  assert.equal(await matches(token, `${kept}A`), false)
})

test('malformed, truncated, oversized and foreign strings are read as nothing', async () => {
  const { token } = await issued()
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
    assert.equal(credentials.present(bad, 0), null, JSON.stringify(bad.slice(0, 80)))
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
