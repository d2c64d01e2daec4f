// The contract on SQLite, and what it promises on its own: formats, several processes, nothing acknowledged lost.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test, type TestContext } from 'node:test'
import { ConfigError } from 'holdfast'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { fakeClock, testStore } from 'holdfast/testing'
import { runProcess, writtenUntilKilled } from './processes/processes.ts'
import { record } from './record.ts'

testStore(
  'sqlite file',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-sqlite-'))
    const clock = fakeClock()
    const open: DatabaseSync[] = []
    const connect = () => {
      const database = new DatabaseSync(join(folder, 'sessions.db'))
      open.push(database)
      return sqliteStore(database, { clock })
    }
    return {
      store: connect(),
      another: connect,
      clock,
      close() {
        for (const database of open) database.close()
        rmSync(folder, { recursive: true })
      },
    }
  },
  { test },
)

testStore('sqlite in memory', () => ({ store: sqliteStore(new DatabaseSync(':memory:')) }), { test })

test('fifty increments by three processes are fifty', async (t) => {
  const { file, open } = temporary(t)
  const store = sqliteStore(open())
  await store.put(record({ id: 'counter', data: '0' }), null)
  await Promise.all([17, 17, 16].map((times) => runProcess('increment.ts', [file, 'counter', String(times)])))
  assert.equal((await store.get('counter'))?.data, '50')
  assert.equal((await store.get('counter'))?.version, 51)
})

test('nothing acknowledged is lost when the writers are killed', async (t) => {
  const { file, open } = temporary(t)
  const { ended, live } = await writtenUntilKilled(file)
  const store = sqliteStore(open())
  for (const id of ended) assert.equal(await store.get(id), null, id)
  for (const id of live) assert.equal((await store.get(id))?.data.trim(), id.split('-')[1])
  const { integrity_check } = open().prepare('PRAGMA integrity_check').get() as { integrity_check: string }
  assert.equal(integrity_check, 'ok')
})

test('an ending is synced to the disk, other writes are not', async (t) => {
  const { open } = temporary(t)
  const database = open()
  const store = sqliteStore(database)
  const seen: string[] = []
  const exec = database.exec.bind(database)
  t.mock.method(database, 'exec', (sql: string) => {
    seen.push(sql)
    exec(sql)
  })
  await store.put(record({ id: 'a' }), null)
  await store.put(record({ id: 'a', version: 2 }), 1)
  assert.deepEqual(seen, [])
  await store.delete(['a'])
  await store.put(record({ id: 'b' }), null)
  await store.put(record({ id: 'b', expiresAt: 0 }), 1)
  const synced = ['PRAGMA synchronous = FULL', 'PRAGMA synchronous = NORMAL']
  assert.deepEqual(seen, [...synced, ...synced])
  assert.deepEqual({ ...database.prepare('PRAGMA synchronous').get() }, { synchronous: 1 })
})

test('a write waits for another process that holds the lock, without blocking this one', async (t) => {
  const { open } = temporary(t)
  const [ours, theirs] = [open(), open()]
  const store = sqliteStore(ours)
  theirs.exec('BEGIN IMMEDIATE')
  const put = store.put(record({ id: 'a' }), null)
  let turns = 0
  const settled = put.then(() => (turns = Infinity))
  while (turns++ < 20) await new Promise((resolve) => setTimeout(resolve, 1))
  theirs.exec('COMMIT')
  assert.equal(await put, true)
  await settled
})

test('a write gives up after a while, and has written nothing', async (t) => {
  const { open } = temporary(t)
  const [ours, theirs] = [open(), open()]
  const store = sqliteStore(ours)
  theirs.exec('BEGIN IMMEDIATE')
  await assert.rejects(store.put(record({ id: 'a' }), null), /locked/)
  await assert.rejects(store.delete(['a'], { signal: AbortSignal.abort() }), /locked/)
  theirs.exec('COMMIT')
  assert.equal(await store.get('a'), null)
})

test('reads go on while many writes wait for the lock, and the writes then come in order', async (t) => {
  const { open } = temporary(t)
  const [ours, theirs] = [open(), open()]
  const store = sqliteStore(ours)
  await store.put(record({ id: 'a' }), null)
  theirs.exec('BEGIN IMMEDIATE')
  const done: number[] = []
  const writes = Array.from({ length: 20 }, (_, i) =>
    store.put(record({ id: 'a', version: i + 2 }), i + 1).then((written) => written && done.push(i)),
  )
  const leaves = new AbortController()
  const left = assert.rejects(store.delete(['a'], { signal: leaves.signal }), /locked/)
  for (let i = 0; i < 200; i++) {
    assert.equal((await store.get('a'))?.version, 1)
    await new Promise((resolve) => setImmediate(resolve))
  }
  leaves.abort()
  await left
  assert.deepEqual(done, [])
  theirs.exec('COMMIT')
  await Promise.all(writes)
  assert.deepEqual(done, [...writes.keys()])
})

test('a file of a newer Holdfast is refused', (t) => {
  const { open } = temporary(t)
  const database = open()
  sqliteStore(database)
  database.exec('PRAGMA user_version = 7')
  assert.throws(
    () => sqliteStore(open()),
    (error) => {
      assert.ok(error instanceof ConfigError)
      assert.match(error.message, /written by a newer Holdfast \(format 7; this one knows 1\): upgrade/)
      return true
    },
  )
})

test('a table must have the name of one', async (t) => {
  const { open } = temporary(t)
  for (const table of ['', '1st', 'a b', 'a;b', 'a"b', 'sqlite_x', 'x'.repeat(64)]) {
    assert.throws(() => sqliteStore(open(), { table }), ConfigError, table)
  }
  const [shop, crm] = [sqliteStore(open(), { table: 'shop' }), sqliteStore(open(), { table: 'Crm_2' })]
  await shop.put(record({ id: 'a' }), null)
  assert.equal(await crm.get('a'), null)
})

test('a first read from the file finds its record by an index', (t) => {
  const { open } = temporary(t)
  const database = open()
  sqliteStore(database)
  const plan = (sql: string) => JSON.stringify(database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all())
  assert.match(plan('SELECT * FROM sessions WHERE id = ? AND expiresAt > ?'), /USING INDEX sqlite_autoindex_sessions_1/)
  assert.match(
    plan('SELECT * FROM sessions WHERE userId = ? AND expiresAt > ? ORDER BY createdAt DESC'),
    /sessions_by_user/,
  )
  assert.match(plan('SELECT rowid FROM sessions WHERE expiresAt <= ? LIMIT ?'), /sessions_by_end/)
})

/** A file of the test's own, and connections to it that end with the test. */
function temporary(t: TestContext): { file: string; open: () => DatabaseSync } {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-sqlite-'))
  const file = join(folder, 'sessions.db')
  const connections: DatabaseSync[] = []
  t.after(() => {
    for (const connection of connections) connection.close()
    rmSync(folder, { recursive: true })
  })
  const open = () => {
    const connection = new DatabaseSync(file)
    connections.push(connection)
    return connection
  }
  return { file, open }
}
