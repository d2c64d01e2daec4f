// Both forms of #bytes do the same, and packing takes no more room than the Redis figures promise.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as node from '../../src/internal/bytes.node.ts'
import * as web from '../../src/internal/bytes.web.ts'
import { pack, unpack } from '../../src/internal/packed.ts'

const text = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('\uFEFFx', '', '\0'),
)

test('text is the same bytes and the same text on Node and elsewhere', () => {
  fc.assert(
    fc.property(text, fc.nat(5), (written, at) => {
      const length = node.utf8Length(written)
      assert.equal(web.utf8Length(written), length)
      const [a, b] = [node.room(length + at).fill(7), web.room(length + at).fill(7)]
      node.writeUtf8(a, written, at)
      web.writeUtf8(b, written, at)
      assert.deepEqual([...a], [...b])
      assert.equal(node.readUtf8(a, at, length + at), written)
      assert.equal(web.readUtf8(b, at, length + at), written)
    }),
  )
})

test('base64url is taken for bytes only in its one spelling, on Node and elsewhere', () => {
  const spelling = fc.oneof(
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64url')),
    fc.string({ minLength: 43, maxLength: 43 }),
    fc.string({
      unit: fc.constantFrom('A', 'Q', 'g', 'w', 'x', '-', '_', '+', '/', '=', ' ', '\n'),
      minLength: 42,
      maxLength: 44,
    }),
  )
  fc.assert(
    fc.property(spelling, (written) => {
      const [a, b] = [node.room(40).fill(0), web.room(40).fill(0)]
      const canonical =
        /^[\w-]{43}$/.test(written) && Buffer.from(written, 'base64url').toString('base64url') === written
      assert.equal(node.writeBase64url(a, written, 1, 32), canonical)
      assert.equal(web.writeBase64url(b, written, 1, 32), canonical)
      if (!canonical) return
      assert.deepEqual([...a], [...b])
      assert.equal(node.readBase64url(a, 1, 33), written)
      assert.equal(web.readBase64url(b, 1, 33), written)
    }),
  )
})

test('a record that was cut short or overwritten is refused, or read as something, but always comes to an end', () => {
  const now = Date.now()
  const instant = fc.integer({ min: now - 1e12, max: now + 1e12 })
  const record = fc.record({
    id: fc.constant('x'),
    userId: fc.option(text),
    credential: fc.oneof(text, fc.constant(Buffer.alloc(32, 1).toString('base64url'))),
    identity: text,
    data: text,
    createdAt: instant,
    seenAt: instant,
    expiresAt: fc.integer({ min: now + 1, max: 2 ** 43 }),
    epoch: fc.nat(),
    version: fc.nat(),
  })
  const outcome = (bytes: Uint8Array) => {
    try {
      return unpack('x', bytes, now)
    } catch (error) {
      assert.match(String(error), /^Error: the stored record of a session is corrupt/)
      return 'refused'
    }
  }
  fc.assert(
    fc.property(record, fc.nat(), (put, seed) => {
      const { bytes } = pack(put, 20)
      const beforeData = bytes.length - node.utf8Length(put.data)
      for (let length = 0; length < beforeData; length++) {
        assert.equal(outcome(bytes.subarray(0, length)), 'refused', `${length} bytes`)
      }
      assert.deepEqual(outcome(bytes), { ...put })
      bytes.fill(255, 12 + (seed % (bytes.length - 12)))
      outcome(bytes)
    }),
  )
})

test('an end that the bytes have no room for is refused, with the limit', () => {
  const record = { id: 'x', userId: null, credential: '', identity: '', data: '', createdAt: 0, seenAt: 0 }
  const last = { ...record, expiresAt: 2 ** 48 - 1, epoch: 0, version: 1 }
  assert.deepEqual(unpack('x', pack(last, 0).bytes, Date.now()), last)
  for (const expiresAt of [2 ** 48, 1.5, -1]) {
    assert.throws(() => pack({ ...last, expiresAt }, 0), /whole milliseconds since the epoch, before the year 10889/)
  }
})

test('a usual session fits the allocation class that the memory figures rest on', () => {
  const now = Date.now()
  const record = {
    id: 'x',
    userId: 'user-123456',
    credential: Buffer.alloc(32, 1).toString('base64url'),
    identity: '{"r":["shopper"],"m":["pwd"],"d":["Chrome 140","Windows","203.0.113.7"]}',
    data: 'x'.repeat(300),
    createdAt: now - 3_600_000,
    seenAt: now,
    expiresAt: now + 11 * 3_600_000,
    epoch: 3,
    version: 1000,
  }
  const { bytes } = pack(record, 20)
  assert.ok(bytes.length <= 442, `${bytes.length} bytes`)
  assert.deepEqual(unpack('x', bytes, now), record)
})
