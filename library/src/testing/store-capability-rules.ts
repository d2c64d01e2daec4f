// What is owed by stores that can be swept, and by stores that can be walked through.
import assert from 'node:assert/strict'
import type { ScannableStore, SessionRecord, SweepableStore } from '../store.ts'
import type { StoreRule, StoreUnderTest } from './store.ts'
import { brief, nowOf, plain, session, until, within } from './store-fixtures.ts'

const sweeping: Record<string, (t: StoreUnderTest) => Promise<void>> = {
  async 'sweep removes up to so many expired records, and nothing else'(t) {
    const store = t.store as SweepableStore
    const live = Array.from({ length: 3 }, () => session(t))
    for (const record of live) await store.put(record, null)
    const [end, swept] = await within(t, async (expiresAt) => {
      // What was not in time.
      await store.sweep(100)
      for (let i = 0; i < 7; i++) await store.put(session(t, { expiresAt }), null)
      return [expiresAt, await store.sweep(100)]
    })
    assert.equal(swept, 0)
    await until(t, end)
    assert.equal(await store.sweep(5), 5)
    assert.equal(await store.sweep(5), 2)
    assert.equal(await store.sweep(5), 0)
    for (const record of live) assert.deepEqual(plain(await store.get(record.id)), record)
  },
}

const scanning: Record<string, (t: StoreUnderTest) => Promise<void>> = {
  async 'a walk sees every live record, though others come and go'(t) {
    const store = t.store as ScannableStore
    const end = nowOf(t) + brief(t)
    const live = Array.from({ length: 57 }, (_, i) => session(t, i % 3 === 0 ? { userId: null } : {}))
    const expired = Array.from({ length: 5 }, () => session(t, { expiresAt: end }))
    for (const record of [...live, ...expired]) await store.put(record, null)
    await until(t, end)
    const seen = new Map<string, SessionRecord>()
    let cursor: string | undefined
    let pages = 0
    do {
      assert.ok(++pages < 10_000, 'the walk does not end')
      const page = await store.scan({ cursor, limit: 10 })
      for (const record of page.records) seen.set(record.id, plain(record))
      cursor = page.cursor ?? undefined
      const visitor = session(t)
      await store.put(visitor, null)
      await store.delete([visitor.id])
    } while (cursor !== undefined)
    for (const record of live) assert.deepEqual(seen.get(record.id), record)
    for (const record of expired) assert.equal(seen.has(record.id), false)
  },

  async 'an empty store has one empty page'(t) {
    const store = t.store as ScannableStore
    let pages = 0
    let cursor: string | undefined
    do {
      const page = await store.scan({ cursor, limit: 10 })
      assert.deepEqual(page.records, [])
      cursor = page.cursor ?? undefined
      assert.ok(++pages < 10_000, 'the walk does not end')
    } while (cursor !== undefined)
  },
}

export const capabilityRules: readonly StoreRule[] = [
  ...Object.entries(sweeping).map(([name, check]) => ({ name, check, needs: 'sweep' as const })),
  ...Object.entries(scanning).map(([name, check]) => ({ name, check, needs: 'scan' as const })),
]
