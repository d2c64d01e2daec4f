import assert from 'node:assert/strict'
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import * as node from '../../src/internal/cipher.node.ts'
import * as web from '../../src/internal/cipher.web.ts'

const runtimes = { node, web }
const pairs = Object.entries(runtimes).flatMap(([from, { seal }]) =>
  Object.entries(runtimes).map(([to, { unseal }]) => ({ way: `${from} → ${to}`, seal, unseal })),
)
const key = new Uint8Array(randomBytes(32))
const random = (bytes: number) => new Uint8Array(randomBytes(bytes))
const characters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const bytesOf = (sealed: string) => Buffer.from(sealed, 'base64url')

for (const { way, seal, unseal } of pairs) {
  test(`${way}: what was sealed opens with the same key for the same purpose, and is the same text`, async () => {
    const text = fc.string({ unit: 'binary', maxLength: 200 })
    await fc.assert(
      fc.asyncProperty(text, text, fc.uint8Array({ minLength: 32, maxLength: 32 }), async (text, purpose, key) => {
        assert.equal(await unseal(key, await seal(key, text, purpose, random), purpose), text)
      }),
      { numRuns: 50 },
    )
    for (const text of ['', '\ufeffmarked', 'x'.repeat(1_000_000), 'é€😀\0\n'])
      assert.equal(await unseal(key, await seal(key, text, 'p', random), 'p'), text)
  })

  test(`${way}: another key, another purpose and any flipped bit are noticed`, async () => {
    const sealed = await seal(key, 'who it is', 'cookie', random)
    for (const purpose of ['', 'cooki', 'cookie ', 'Cookie', 'cookie\0'])
      assert.equal(await unseal(key, sealed, purpose), null)
    assert.equal(await unseal(random(32), sealed, 'cookie'), null)
    const bytes = bytesOf(sealed)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      assert.equal(await unseal(key, flipped.toString('base64url'), 'cookie'), null, `bit ${bit}`)
    }
  })

  test(`${way}: a tag that was cut, also to a length that AES-GCM knows, opens nothing`, async () => {
    for (const text of ['', 'a', 'x'.repeat(12), 'x'.repeat(100)]) {
      const bytes = bytesOf(await seal(key, text, 'p', random))
      for (let length = 0; length < bytes.length; length++)
        assert.equal(await unseal(key, bytes.subarray(0, length).toString('base64url'), 'p'), null, `${length} bytes`)
      assert.equal(await unseal(key, Buffer.concat([bytes, Buffer.of(0)]).toString('base64url'), 'p'), null)
    }
  })

  test(`${way}: tags made short on purpose open nothing`, async () => {
    for (const authTagLength of [4, 8, 12] as const) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength }).setAAD(Buffer.from('p'))
      const sealed = Buffer.concat([nonce, cipher.update('x'.repeat(40)), cipher.final(), cipher.getAuthTag()])
      assert.equal(await unseal(key, sealed.toString('base64url'), 'p'), null, `${authTagLength} bytes`)
    }
  })

  test(`${way}: bytes have one spelling`, async () => {
    for (const text of ['', 'a', 'ab', 'abc']) {
      const sealed = await seal(key, text, 'p', random)
      const others = [
        `${sealed}=`,
        `${sealed}==`,
        ` ${sealed}`,
        `${sealed}\n`,
        `${sealed}A`,
        `${sealed}*`,
        `${sealed}é`,
      ]
      others.push(sealed.slice(0, 8) + '\n' + sealed.slice(8), sealed.slice(0, 8) + '.' + sealed.slice(8))
      for (const last of characters) if (!sealed.endsWith(last)) others.push(sealed.slice(0, -1) + last)
      for (const other of others) assert.equal(await unseal(key, other, 'p'), null, JSON.stringify(other))
    }
    const sealed = await sealUntil(seal, /[-_]/)
    assert.equal(await unseal(key, sealed.replaceAll('-', '+').replaceAll('_', '/'), 'p'), null)
  })
}

/** Standard base64 differs from base64url in these characters alone. */
async function sealUntil(seal: typeof node.seal, pattern: RegExp): Promise<string> {
  for (;;) {
    const sealed = await seal(key, 'text', 'p', random)
    if (pattern.test(sealed)) return sealed
  }
}

for (const [name, { seal, unseal }] of Object.entries(runtimes)) {
  test(`${name}: it is AES-256-GCM as others do it: 12 bytes of nonce, the ciphertext, 16 bytes of tag`, async () => {
    const asked: number[] = []
    const nonce = random(12)
    const sealed = await seal(key, 'text', 'p', (bytes) => {
      asked.push(bytes)
      return nonce
    })
    assert.deepEqual(asked, [12])
    const bytes = bytesOf(sealed)
    assert.equal(bytes.length, 12 + 4 + 16)
    assert.deepEqual(bytes.subarray(0, 12), Buffer.from(nonce))
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 })
    decipher.setAAD(Buffer.from('p')).setAuthTag(bytes.subarray(16))
    assert.equal(decipher.update(bytes.subarray(12, 16), undefined, 'utf8') + decipher.final('utf8'), 'text')
  })

  test(`${name}: no string makes it throw`, async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom(...characters.split('')), maxLength: 80 }),
    )
    await fc.assert(fc.asyncProperty(text, async (sealed) => assert.equal(await unseal(key, sealed, 'p'), null)))
  })
}

test('on Node nothing waits', () => {
  const sealed = node.seal(key, 'text', 'p', random)
  assert.ok(typeof sealed === 'string')
  assert.equal(node.unseal(key, sealed, 'p'), 'text')
})
