// What every store owes, rule by rule.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { SessionRecord, Store } from '../store.ts'
import type { StoreRule, StoreUnderTest } from './store.ts'
import { brief, clients, next, nowOf, plain, randomText, session, until, within } from './store-fixtures.ts'

const rules: Record<string, (t: StoreUnderTest) => Promise<void>> = {
  async 'what was never put is absent'({ store }) {
    assert.equal(await store.get(randomText(16)), null)
  },

  async 'a record comes back as it was put'(t) {
    const record = session(t)
    assert.equal(await t.store.put(record, null), true)
    assert.deepEqual(plain(await t.store.get(record.id)), record)
    const changed = next(record, { data: '{}', identity: '{"roles":[]}', seenAt: record.seenAt + 1, epoch: 1 })
    assert.equal(await t.store.put(changed, 1), true)
    assert.deepEqual(plain(await t.store.get(record.id)), changed)
  },

  async 'text comes back byte for byte, and every instant and number with it'(t) {
    const text = fc.oneof(
      fc.constantFrom('', '\0', '\uFEFF{}', '\r\n', "'; --", '"', '\\u0000', '  ', '🛒', 'é', 'e\u0301', '%00', '\x7F'),
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: 'binary-ascii' }),
    )
    const start = nowOf(t)
    const instant = fc.integer({ min: start - 400 * 86_400_000, max: start + 400 * 86_400_000 })
    const record = fc.record({
      userId: fc.option(text),
      credential: fc.oneof(text, fc.constantFrom(...lookalikes())),
      identity: text,
      data: text,
      createdAt: instant,
      seenAt: instant,
      expiresAt: fc.oneof(fc.integer({ min: start + 600_000, max: start + 4000 * 86_400_000 }), fc.constant(2 ** 43)),
      epoch: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(record, fc.integer({ min: 1, max: 2 ** 31 }), async (parts, version) => {
        const put: SessionRecord = { ...parts, id: randomText(16), version }
        assert.equal(await t.store.put(put, null), true)
        assert.deepEqual(plain(await t.store.get(put.id)), put)
      }),
      { numRuns: 60 },
    )
  },

  async 'a hundred thousand characters of data come back'(t) {
    const record = session(t, { data: JSON.stringify('ä🛒'.repeat(33_000)) })
    await t.store.put(record, null)
    assert.deepEqual(plain(await t.store.get(record.id)), record)
  },

  async 'an id that is no base64url is an id'(t) {
    for (const id of ['a', 'session:1', '*', '日本', 'A'.repeat(21) + 'B', 'x'.repeat(15), 'x'.repeat(200)]) {
      const record = session(t, { id })
      assert.equal(await t.store.put(record, null), true, id)
      assert.deepEqual(plain(await t.store.get(id)), record)
      assert.deepEqual((await t.store.listByUser(record.userId!)).map(plain), [record])
      assert.deepEqual(await t.store.delete([id]), [id])
      assert.equal(await t.store.get(id), null)
    }
  },

  async 'what the caller does to its record afterwards changes nothing stored'(t) {
    const record = { ...session(t) }
    await t.store.put(record, null)
    record.data = '{"cart":"gone"}'
    assert.notEqual((await t.store.get(record.id))?.data, record.data)
  },

  async 'every client sees a write as soon as it resolved'(t) {
    const [one, two] = await clients(t)
    let record = session(t)
    await one.put(record, null)
    for (let i = 0; i < 20; i++) {
      const [writer, reader] = i % 2 === 0 ? [two, one] : [one, two]
      record = next(record)
      assert.equal(await writer.put(record, record.version - 1), true)
      assert.equal((await reader.get(record.id))?.version, record.version)
    }
    await one.delete([record.id])
    assert.equal(await two.get(record.id), null)
  },

  async 'a first write needs the id to be free'(t) {
    const record = session(t)
    assert.equal(await t.store.put(record, null), true)
    assert.equal(await t.store.put(session(t, { id: record.id }), null), false)
    assert.deepEqual(plain(await t.store.get(record.id)), record)
  },

  async 'a write needs the version that is stored'(t) {
    const first = session(t)
    const second = next(first)
    await t.store.put(first, null)
    for (const expected of [2, 3, 2 ** 31]) assert.equal(await t.store.put(second, expected), false, `${expected}`)
    assert.deepEqual(plain(await t.store.get(first.id)), first)
    assert.equal(await t.store.put(second, 1), true)
    assert.equal(await t.store.put(next(first, { data: '{"late":true}' }), 1), false)
    assert.deepEqual(plain(await t.store.get(first.id)), second)
  },

  async 'a write with an expected version creates nothing'(t) {
    const record = session(t, { version: 2 })
    assert.equal(await t.store.put(record, 1), false)
    assert.equal(await t.store.get(record.id), null)
    assert.deepEqual(await t.store.listByUser(record.userId!), [])
  },

  async 'a write after the end revives nothing'(t) {
    const record = session(t)
    await t.store.put(record, null)
    await t.store.delete([record.id])
    assert.equal(await t.store.put(next(record), 1), false)
    assert.equal(await t.store.get(record.id), null)
    assert.deepEqual(await t.store.listByUser(record.userId!), [])
  },

  async 'the user of a record may change'(t) {
    const guest = session(t, { userId: null })
    const anna = next(guest, { userId: `anna-${randomText(6)}` })
    const bert = next(anna, { userId: `bert-${randomText(6)}` })
    await t.store.put(guest, null)
    assert.equal((await t.store.get(guest.id))?.userId, null)
    await t.store.put(anna, 1)
    assert.deepEqual((await t.store.listByUser(anna.userId!)).map(plain), [anna])
    await t.store.put(bert, 2)
    assert.deepEqual((await t.store.listByUser(bert.userId!)).map(plain), [bert])
    assert.deepEqual(await t.store.listByUser(anna.userId!), [])
    await t.store.put(next(bert, { userId: null }), 3)
    assert.deepEqual(await t.store.listByUser(bert.userId!), [])
  },

  async 'a record is absent from the instant it expires'(t) {
    const record = session(t, { expiresAt: nowOf(t) + brief(t) })
    const lasting = session(t, { userId: record.userId })
    await t.store.put(record, null)
    await t.store.put(lasting, null)
    await until(t, record.expiresAt)
    assert.equal(await t.store.get(record.id), null)
    assert.deepEqual((await t.store.listByUser(record.userId!)).map(plain), [lasting])
    assert.deepEqual(await t.store.delete([record.id]), [])
  },

  async 'an expired record counts as gone for a write'(t) {
    const record = session(t, { expiresAt: nowOf(t) + brief(t) })
    await t.store.put(record, null)
    await until(t, record.expiresAt)
    const later = session(t, { ...record, version: 2, expiresAt: record.expiresAt + 3_600_000 })
    assert.equal(await t.store.put(later, 1), false)
    assert.equal(await t.store.get(record.id), null)
    assert.equal(await t.store.put({ ...later, version: 1 }, null), true)
    assert.equal((await t.store.get(record.id))?.expiresAt, later.expiresAt)
    assert.equal((await t.store.listByUser(record.userId!)).length, 1)
  },

  async 'a write moves the end, in both directions'(t) {
    const [record, longer] = await within(t, async (expiresAt) => {
      const first = session(t, { expiresAt })
      const moved = next(first, { expiresAt: expiresAt + 3_600_000 })
      await t.store.put(first, null)
      await t.store.put(moved, 1)
      return [first, moved]
    })
    await until(t, record.expiresAt)
    assert.deepEqual(plain(await t.store.get(record.id)), longer)
    const shorter = next(longer, { expiresAt: nowOf(t) + brief(t) })
    await t.store.put(shorter, 2)
    await until(t, shorter.expiresAt)
    assert.equal(await t.store.get(record.id), null)
    assert.deepEqual(await t.store.listByUser(record.userId!), [])
  },

  async 'a put of what has expired ends the session, if the version is right'(t) {
    for (const expiresAt of [0, nowOf(t) - 1, nowOf(t)]) {
      const record = session(t)
      await t.store.put(record, null)
      assert.equal(await t.store.put(next(record, { expiresAt }), 2), false)
      assert.equal(await t.store.put(next(record, { expiresAt }), null), false)
      assert.deepEqual(plain(await t.store.get(record.id)), record)
      assert.equal(await t.store.put(next(record, { expiresAt }), 1), true)
      assert.equal(await t.store.get(record.id), null)
      assert.deepEqual(await t.store.listByUser(record.userId!), [])
      assert.equal(await t.store.put(next(record, { expiresAt }), 1), false)
      assert.equal(await t.store.put(session(t, { ...record, expiresAt }), null), true)
      assert.equal(await t.store.get(record.id), null)
    }
  },

  async 'delete answers which of the ids were there and live'(t) {
    const [one, two, guest] = [session(t), session(t), session(t, { userId: null })]
    const expired = session(t, { expiresAt: nowOf(t) + brief(t) })
    for (const record of [one, two, guest, expired]) await t.store.put(record, null)
    await t.store.put(next(two), 1)
    await until(t, expired.expiresAt)
    const unknown = randomText(16)
    const ended = await t.store.delete([two.id, unknown, expired.id, guest.id, two.id])
    assert.deepEqual([...ended].sort(), [two.id, guest.id].sort())
    assert.deepEqual(await t.store.delete([two.id, guest.id]), [])
    assert.deepEqual(await t.store.delete([]), [])
    assert.equal(await t.store.get(two.id), null)
    assert.equal(await t.store.get(guest.id), null)
    assert.deepEqual(plain(await t.store.get(one.id)), one)
  },

  async 'the list of a user has the live sessions of that user alone, the newest first'(t) {
    const userId = `anna-${randomText(6)}`
    const now = nowOf(t)
    const of = (age: number, who: string | null) => session(t, { userId: who, createdAt: now - age })
    const mine = [of(30, userId), of(10, userId), of(5000, userId), of(20, userId)]
    const others = [
      of(15, `${userId} `),
      of(15, userId.toUpperCase()),
      of(15, ''),
      of(15, null),
      of(15, userId.slice(1)),
    ]
    for (const record of [...mine, ...others]) await t.store.put(record, null)
    const newestFirst = mine.toSorted((a, b) => b.createdAt - a.createdAt)
    assert.deepEqual((await t.store.listByUser(userId)).map(plain), newestFirst)
    assert.deepEqual((await t.store.listByUser('')).map(plain), [others[2]])
    assert.deepEqual(await t.store.listByUser(randomText(9)), [])
    await t.store.delete([mine[1]!.id])
    assert.deepEqual((await t.store.listByUser(userId)).map(plain), newestFirst.slice(1))
  },

  async 'the list has what any client put, and shows its last version'(t) {
    const [one, two] = await clients(t)
    const record = session(t)
    await one.put(record, null)
    assert.deepEqual((await two.listByUser(record.userId!)).map(plain), [record])
    await two.put(next(record, { data: '{"n":1}' }), 1)
    assert.deepEqual(
      (await one.listByUser(record.userId!)).map(({ data }) => data),
      ['{"n":1}'],
    )
  },

  async 'the list has all of a user who has three hundred sessions'(t) {
    const userId = `bot-${randomText(6)}`
    const now = nowOf(t)
    const records = Array.from({ length: 300 }, (_, i) => session(t, { userId, createdAt: now - i }))
    await Promise.all(records.map((record) => t.store.put(record, null)))
    assert.deepEqual(
      (await t.store.listByUser(userId)).map(({ id }) => id),
      records.map(({ id }) => id),
    )
    const ids = records.map(({ id }) => id)
    assert.deepEqual([...(await t.store.delete(ids))].sort(), ids.sort())
    assert.deepEqual(await t.store.listByUser(userId), [])
  },

  async 'a list taken while a session is replaced has the old one or the new one'(t) {
    const [one, two] = await clients(t)
    let current = session(t)
    const userId = current.userId!
    await one.put(current, null)
    const over = new AbortController()
    const replace = async () => {
      for (let i = 0; i < 50; i++) {
        const replacement = session(t, { userId })
        await one.put(replacement, null)
        assert.equal(await one.put(next(current, { expiresAt: 0 }), 1), true)
        current = replacement
      }
    }
    const watch = async () => {
      while (!over.signal.aborted) {
        assert.notEqual((await two.listByUser(userId)).length, 0, 'neither is there')
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await Promise.all([replace().finally(() => over.abort()), watch(), watch(), watch()])
  },

  async 'a session that is kept alive stays on the list, window after window'(t) {
    const windowMs = t.clock === undefined ? 60 : 1_800_000
    let record = session(t, { expiresAt: nowOf(t) + 2000 + windowMs })
    await t.store.put(record, null)
    for (let i = 0; i < 30; i++) {
      await until(t, nowOf(t) + windowMs * 0.7)
      record = next(record, { seenAt: nowOf(t), expiresAt: nowOf(t) + 2000 + windowMs * (1 + (i % 5)) })
      assert.equal(await t.store.put(record, record.version - 1), true)
      // Other sessions of the same user come and go; an engine may tidy up then.
      const visitor = session(t, {
        userId: record.userId,
        createdAt: record.createdAt - 1,
        expiresAt: nowOf(t) + windowMs / 2,
      })
      await t.store.put(visitor, null)
      assert.deepEqual((await t.store.listByUser(record.userId!)).map(plain)[0], record, `window ${i}`)
    }
  },

  async 'a start that fails takes nothing from the list'(t) {
    const lasting = session(t)
    await t.store.put(lasting, null)
    const briefer = session(t, { ...lasting, expiresAt: nowOf(t) + brief(t) })
    assert.equal(await t.store.put(briefer, null), false)
    await until(t, briefer.expiresAt + (t.clock === undefined ? 0 : 300_000))
    await t.store.put(session(t, { userId: lasting.userId, createdAt: lasting.createdAt - 1 }), null)
    assert.deepEqual(plain((await t.store.listByUser(lasting.userId!))[0] ?? null), lasting)
  },

  async 'of many first writes of one id, one wins'(t) {
    const both = await clients(t)
    const records = Array.from({ length: 20 }, (_, i) => session(t, { id: 'contended-first-write', data: `${i}` }))
    const won = await Promise.all(records.map((record, i) => both[i % 2]!.put(record, null)))
    assert.equal(won.filter(Boolean).length, 1)
    assert.deepEqual(plain(await t.store.get('contended-first-write')), records[won.indexOf(true)])
  },

  async 'of many writes that expect one version, one wins'(t) {
    const both = await clients(t)
    const record = session(t)
    await t.store.put(record, null)
    const won = await Promise.all(
      Array.from({ length: 20 }, (_, i) => both[i % 2]!.put(next(record, { data: `${i}` }), 1)),
    )
    assert.equal(won.filter(Boolean).length, 1)
    assert.equal((await t.store.get(record.id))?.data, `${won.indexOf(true)}`)
  },

  async 'of many who end a session, one is told that it was there'(t) {
    const both = await clients(t)
    const record = session(t)
    await t.store.put(record, null)
    const told = await Promise.all(Array.from({ length: 10 }, (_, i) => both[i % 2]!.delete([record.id])))
    assert.equal(told.flat().length, 1)
  },

  async 'fifty increments by read and conditional write are fifty'(t) {
    const both = await clients(t)
    const record = session(t, { data: '0' })
    await t.store.put(record, null)
    await Promise.all(Array.from({ length: 50 }, (_, i) => increment(both[i % 2]!, record.id)))
    assert.equal((await t.store.get(record.id))?.data, '50')
    assert.equal((await t.store.get(record.id))?.version, 51)
  },
}

export const storeRules: readonly StoreRule[] = Object.entries(rules).map(([name, check]) => ({ name, check }))

/** Text that looks like 32 bytes in base64url, and text that is not quite that. */
function lookalikes(): readonly string[] {
  const hash = randomText(32)
  return [
    hash,
    `${hash.slice(0, 42)}B`,
    `${hash.slice(0, 42)}=`,
    `${hash.slice(0, 42)} `,
    `+/${hash.slice(2)}`,
    hash.slice(1),
    `${hash}A`,
  ]
}

async function increment(store: Store, id: string): Promise<void> {
  for (let attempt = 0; attempt < 5000; attempt++) {
    const record = await store.get(id)
    assert.ok(record, 'the session is gone')
    if (await store.put(next(record, { data: String(Number(record.data) + 1) }), record.version)) return
  }
  assert.fail('no write ever succeeded')
}
