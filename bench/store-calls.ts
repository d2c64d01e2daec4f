// What one call to the memory store and to the SQLite store takes, and what it costs that an ending survives a power cut.
// node --conditions=source bench/store-calls.ts
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { SessionRecord, Store } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'
import { sqliteStore } from 'holdfast/stores/sqlite'

const sessions = 50_000
const endings = 2000

const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
const file = join(folder, 'sessions.db')
const database = new DatabaseSync(file)
const results = {
  memory: await measure(memoryStore()),
  sqlite: await measure(sqliteStore(database)),
}
const { pages } = database
  .prepare('SELECT page_count * page_size AS pages FROM pragma_page_count, pragma_page_size')
  .get() as { pages: number }
const report = {
  measured: new Date().toISOString().slice(0, 10),
  on: { cpu: cpus()[0]?.model, node: process.version },
  microsecondsPerCall: results,
  sqliteBytesPerSession: Math.round(pages / (sessions - endings)),
}
console.log(report)
writeFileSync(new URL('results/store-calls.json', import.meta.url), `${JSON.stringify(report, null, 2)}\n`)
database.close()
rmSync(folder, { recursive: true })

async function measure(store: Store): Promise<Record<string, number>> {
  const records = Array.from({ length: sessions }, (_, i) => session(i))
  const start = await each(records, (record) => store.put(record, null))
  const get = await each(records, ({ id }) => store.get(id))
  const update = await each(records, (record) => store.put({ ...record, version: 2 }, 1))
  const listByUser = await each(records.slice(0, 5000), ({ userId }) => store.listByUser(userId!))
  const end = await each(records.slice(0, endings), ({ id }) => store.delete([id]))
  return { start, get, update, listByUser, end }
}

/** One call after the other, as the SQLite store runs them anyway. */
async function each<T>(items: readonly T[], call: (item: T) => Promise<unknown>): Promise<number> {
  const before = performance.now()
  for (const item of items) await call(item)
  return Math.round(((performance.now() - before) * 100_000) / items.length) / 100
}

function session(i: number): SessionRecord {
  const now = Date.now()
  return {
    id: `${i}`.padStart(22, 'A'),
    userId: `user-${i}`,
    credential: 'c'.repeat(43),
    identity: '{"r":["shopper"],"m":["pwd"],"d":["Chrome 140","Windows","203.0.113.7"]}',
    data: JSON.stringify({ cart: 'x'.repeat(289) }),
    createdAt: now,
    seenAt: now,
    expiresAt: now + 3_600_000,
    epoch: 0,
    version: 1,
  }
}
