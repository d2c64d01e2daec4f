// The contract on MariaDB, and what a store in MySQL can do wrong on its own.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ConfigError } from 'holdfast'
import { mysqlStore, mysqlStoreSchema } from 'holdfast/stores/mysql'
import { fakeClock, testStore } from 'holdfast/testing'
import { createPool, type Pool, type PoolOptions } from 'mysql2/promise'
import { startMariadb, type Mariadb } from '../../../scripts/servers/mariadb.ts'
import { runProcess } from './processes/processes.ts'
import { record } from './record.ts'

let server: Mariadb
const pools: Pool[] = []
let tables = 0

before(async () => {
  server = await startMariadb()
  for (let i = 0; i < 2; i++) pools.push(poolOf())
  // Ten connections at once are slow to make on a machine that is busy.
  for (const pool of pools) await warmed(pool)
})
after(async () => {
  for (const pool of pools) await pool.end()
  await server.stop()
})

function poolOf(o: PoolOptions = {}): Pool {
  return createPool({ uri: server.url, ...o })
}

async function warmed(pool: Pool): Promise<void> {
  const connections = await Promise.all(Array.from({ length: 10 }, () => pool.getConnection()))
  for (const connection of connections) connection.release()
}

async function newTable(): Promise<string> {
  const table = `sessions_${tables++}`
  for (const statement of mysqlStoreSchema(table)) await pools[0]!.query(statement)
  return table
}

testStore(
  'mysql',
  async () => {
    const table = await newTable()
    const clock = fakeClock()
    return {
      store: mysqlStore(pools[0]!, { table, clock }),
      another: () => mysqlStore(pools[1]!, { table, clock }),
      clock,
    }
  },
  { test },
)

test('a table that nobody made is no outage: every call says what makes it', async () => {
  const store = mysqlStore(pools[0]!, { table: 'forgotten' })
  for (const call of [() => store.get('a'), () => store.delete(['a']), () => store.listByUser('a')]) {
    await assert.rejects(call, (error: Error) => {
      assert.ok(error instanceof ConfigError)
      assert.match(error.message, /forgotten.*: run mysqlStoreSchema\(\), or holdfast migrate$/)
      return true
    })
  }
})

// Neither what affectedRows counts nor what a large number looks like is up to us.
testStore(
  'mysql in real time, with a pool that has settings of its own',
  async () => {
    const pool = poolOf({ flags: ['-FOUND_ROWS'], supportBigNumbers: true, bigNumberStrings: true })
    const table = `holdfast.${await newTable()}`
    return { store: mysqlStore(pool, { table }), close: () => pool.end() }
  },
  { test },
)

test('fifty increments by three processes are fifty', async () => {
  for (const statement of mysqlStoreSchema()) await pools[0]!.query(statement)
  const store = mysqlStore(pools[0]!)
  await store.put(record({ id: 'counter', data: '0' }), null)
  await Promise.all([17, 17, 16].map((times) => runProcess('increment.ts', [server.url, 'counter', String(times)])))
  assert.equal((await store.get('counter'))?.data, '50')
  assert.equal((await store.get('counter'))?.version, 51)
})

test('ids and users are told apart by every byte, however long', async () => {
  const store = mysqlStore(pools[0]!, { table: await newTable() })
  const ids = ['a', 'A', 'a ', 'a\0', 'ä', 'a\u0308', 'á']
  for (const id of ids) assert.equal(await store.put(record({ id }), null), true, JSON.stringify(id))
  for (const id of ids) assert.equal((await store.get(id))?.id, id)
  const long = 'ü'.repeat(5_000)
  const users = [long, `${long} `, `${long}ü`, long.slice(0, 127), long.slice(0, 128), 'a', 'A', 'a ', 'ä', '']
  for (const [i, userId] of users.entries()) await store.put(record({ id: `of-${i}`, userId }), null)
  for (const [i, userId] of users.entries()) {
    assert.deepEqual(
      (await store.listByUser(userId)).map(({ id }) => id),
      [`of-${i}`],
    )
  }
  await assert.rejects(store.put(record({ id: 'x'.repeat(256) }), null), /too long/)
})

test('every statement finds its rows by an index', async () => {
  const table = await newTable()
  const asked: [sql: string, values: (string | number | null | Uint8Array)[]][] = []
  const watched = {
    async getConnection() {
      const connection = await pools[0]!.getConnection()
      return {
        execute(sql: string, values: (string | number | null | Uint8Array)[] = []) {
          asked.push([sql, values])
          return connection.execute(sql, values)
        },
        query: (sql: string) => connection.query(sql),
        release: () => connection.release(),
        destroy: () => connection.destroy(),
      }
    },
  }
  const clock = fakeClock()
  const store = mysqlStore(watched, { table, clock })
  const end = clock.now() + 60_000
  const records = Array.from({ length: 600 }, (_, i) =>
    record({
      id: `id-${i}`,
      userId: `user-${i % 200}`,
      expiresAt: i % 6 === 0 ? end : clock.now() + 3_600_000,
    }),
  )
  await Promise.all(records.map((one) => store.put(one, null)))
  clock.advance('60s')
  await pools[0]!.query(`ANALYZE TABLE ${table}`)
  asked.length = 0
  await store.get('id-3')
  await store.put({ ...records[1]!, version: 2 }, 1)
  await store.put({ ...records[1]!, version: 3, expiresAt: 0 }, 2)
  await store.put({ ...records[6]!, expiresAt: clock.now() + 3_600_000 }, null)
  await store.delete(['id-2'])
  await store.delete(['id-4', 'id-5'])
  await store.listByUser('user-3')
  await store.sweep(50)
  await store.scan({ cursor: 'id-3', limit: 10 })
  const used: string[] = []
  for (const [sql, values] of asked) {
    if (sql.startsWith('INSERT')) continue
    const [plan] = (await pools[0]!.execute(`EXPLAIN ${sql}`, values)) as unknown as [
      { table: string; key: string; type: string }[],
    ]
    for (const { table: of, key, type } of plan) {
      if (of === table) used.push(`${/^\s*(\w+)/.exec(sql)![1]} ${key} ${type}`)
    }
  }
  assert.deepEqual(used, [
    'SELECT PRIMARY const',
    'UPDATE PRIMARY range',
    'DELETE PRIMARY range',
    'DELETE PRIMARY range',
    'DELETE PRIMARY range',
    'SELECT PRIMARY range',
    'DELETE PRIMARY range',
    'SELECT byUser ref',
    'SELECT byEnd range',
    'DELETE PRIMARY range',
    'SELECT PRIMARY range',
  ])
})

test('a read-only server is not asked who is signed in, and takes no ending', async () => {
  const table = await newTable()
  await pools[0]!.query("CREATE USER shop@'%'")
  await pools[0]!.query("GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast.* TO shop@'%'")
  const pool = createPool({ host: '127.0.0.1', port: server.port, user: 'shop', database: 'holdfast' })
  // Whatever rights a user has, what it reads may be old.
  const [store, privileged] = [mysqlStore(pool, { table }), mysqlStore(pools[0]!, { table })]
  await store.put(record({ id: 'a' }), null)
  // A statement that was prepared earlier must see it too.
  for (const one of [store, privileged]) for (let i = 0; i < 10; i++) await one.get('a')
  await pools[0]!.query('SET GLOBAL read_only = 1')
  try {
    for (const one of [store, privileged]) {
      await assert.rejects(one.get('a'), /read-only.*primary/)
      await assert.rejects(one.get('absent'), /read-only.*primary/)
      await assert.rejects(one.listByUser('anna'), /read-only.*primary/)
      await assert.rejects(one.listByUser('nobody'), /read-only.*primary/)
      await assert.rejects(one.scan({ limit: 10 }), /read-only.*primary/)
      await assert.rejects(one.put(record({ id: 'new', expiresAt: 0 }), null), /read-only.*primary/)
    }
    await assert.rejects(store.put(record({ id: 'a', version: 2 }), 1), { errno: 1290 })
    await assert.rejects(store.delete(['a']), { errno: 1290 })
  } finally {
    await pools[0]!.query('SET GLOBAL read_only = 0')
  }
  assert.equal((await store.get('a'))?.version, 1)
  await pool.end()
})

test('a pool that would lose writes or change text is refused', async () => {
  const table = await newTable()
  const wrong: readonly [PoolOptions, string | null, RegExp][] = [
    [{}, 'SET autocommit = 0', /must have autocommit on/],
    [{}, "SET sql_mode = ''", /must have STRICT_TRANS_TABLES in sql_mode/],
    [{}, 'SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED', /isolation level other than READ UNCOMMITTED/],
    [{ charset: 'latin1_swedish_ci' }, null, /must have the charset 'utf8mb4'/],
  ]
  for (const [options, statement, expected] of wrong) {
    const pool = poolOf(options)
    if (statement !== null) pool.pool.on('connection', (connection) => void connection.query(statement))
    const store = mysqlStore(pool, { table })
    for (let i = 0; i < 2; i++) {
      await assert.rejects(store.put(record({ id: 'a' }), null), (error) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, expected)
        return true
      })
    }
    await pool.end()
  }
  for (const name of ['', 'A', '1a', 'a b', 'a`b', 'a.b.c', 'x'.repeat(65)]) {
    assert.throws(() => mysqlStore(pools[0]!, { table: name }), ConfigError, name)
    assert.throws(() => mysqlStoreSchema(name), ConfigError, name)
  }
})

test('a machine whose clock is ahead sweeps nothing that is live', async () => {
  const table = await newTable()
  const store = mysqlStore(pools[0]!, { table })
  const ahead = mysqlStore(pools[1]!, { table, clock: { now: () => Date.now() + 3 * 3_600_000 } })
  await store.put(record({ id: 'a' }), null)
  assert.equal(await ahead.sweep(10), 0)
  assert.equal((await store.get('a'))?.id, 'a')
})

test('many endings take one connection, and a few statements', async () => {
  const table = await newTable()
  const ids = Array.from({ length: 250 }, (_, i) => `id-${i}`)
  const free = mysqlStore(pools[0]!, { table })
  await Promise.all(ids.map((id) => free.put(record({ id }), null)))
  let [leases, leasesAtMost, statements] = [0, 0, 0]
  const watched = {
    async getConnection() {
      const connection = await pools[0]!.getConnection()
      leasesAtMost = Math.max(leasesAtMost, ++leases)
      return {
        execute(sql: string, values: (string | number | null | Uint8Array)[] = []) {
          statements++
          return connection.execute(sql, values)
        },
        query: (sql: string) => connection.query(sql),
        release() {
          leases--
          connection.release()
        },
        destroy: () => connection.destroy(),
      }
    },
  }
  const store = mysqlStore(watched, { table })
  // The first call looks at the format of the table, too.
  await store.get('unknown')
  statements = 0
  const ended = await store.delete([...ids, 'id-7', 'unknown'])
  assert.deepEqual([...ended].sort(), ids.sort())
  assert.deepEqual([leasesAtMost, statements], [1, 6])
  assert.deepEqual(await free.listByUser('anna'), [])
})

test('of two who end the same sessions, each ending is told to one', async () => {
  const table = await newTable()
  const [one, two] = [mysqlStore(pools[0]!, { table }), mysqlStore(pools[1]!, { table })]
  const ids = Array.from({ length: 300 }, (_, i) => `id-${i}`)
  await Promise.all(ids.map((id) => one.put(record({ id }), null)))
  const ended = await Promise.all([one.delete(ids), two.delete(ids.toReversed()), one.delete(ids.slice(50))])
  assert.deepEqual(ended.flat().sort(), ids.sort())
})

test('the victim of a deadlock is tried again', async () => {
  for (const remove of ['sweep', 'delete'] as const) await deadlocked(remove)
})

async function deadlocked(remove: 'sweep' | 'delete'): Promise<void> {
  const table = await newTable()
  const clock = fakeClock()
  const store = mysqlStore(pools[0]!, { table, clock })
  const ids = Array.from({ length: 50 }, (_, i) => `id-${100 + i}`)
  await Promise.all(ids.map((id) => store.put(record({ id, expiresAt: clock.now() + 60_000 }), null)))
  if (remove === 'sweep') clock.advance('60s')
  const other = await pools[1]!.getConnection()
  await other.query('START TRANSACTION')
  // Who has written more is not the victim.
  await other.query(`UPDATE ${table} SET epoch = 1 WHERE id > 'id-101'`)
  const removing = remove === 'sweep' ? store.sweep(50) : store.delete(ids).then((ended) => ended.length)
  while ((await statusOf('Innodb_row_lock_current_waits')) === 0);
  const before = await statusOf('Innodb_deadlocks')
  await other.query(`UPDATE ${table} SET epoch = 1`)
  await other.query('COMMIT')
  other.release()
  assert.equal(await removing, 50)
  assert.equal(await statusOf('Innodb_deadlocks'), before + 1)
}

test('a row that somebody keeps locked makes a write reject, and nothing else', async () => {
  const store = mysqlStore(pools[0]!, { table: await newTable() })
  const table = `sessions_${tables - 1}`
  await store.put(record({ id: 'a' }), null)
  const other = await pools[1]!.getConnection()
  await other.query('START TRANSACTION')
  await other.query(`SELECT id FROM ${table} WHERE id = 'a' FOR UPDATE`)
  await assert.rejects(store.put(record({ id: 'a', version: 2 }), 1), /no answer within 1000 ms/)
  assert.equal((await store.get('a'))?.version, 1)
  assert.equal(await store.put(record({ id: 'b' }), null), true)
  await other.query('ROLLBACK')
  other.release()
})

test('what nobody waits for any more is not sent', async () => {
  const pool = poolOf({ connectionLimit: 1 })
  const store = mysqlStore(pool, { table: await newTable() })
  const connection = await pool.getConnection()
  const leaving = new AbortController()
  const put = store.put(record({ id: 'a' }), null, { signal: leaving.signal })
  leaving.abort()
  connection.release()
  await assert.rejects(put, { name: 'AbortError' })
  assert.equal(await store.get('a'), null)
  await pool.end()
})

test('a server that stands still, and one that is killed, leave a pool that works when it is back', async (t) => {
  const own = await startMariadb()
  const servers = [own]
  const pool = createPool({ uri: own.url, connectTimeout: 1_000, connectionLimit: 4 })
  t.after(async () => {
    await pool.end()
    for (const server of servers) await server.stop()
  })
  for (const statement of mysqlStoreSchema()) await pool.query(statement)
  const store = mysqlStore(pool)
  await store.put(record({ id: 'a' }), null)
  const many = () => Promise.allSettled(Array.from({ length: 12 }, () => store.get('a')))
  assert.ok((await many()).every(({ status }) => status === 'fulfilled'))

  own.pause()
  const whileAway = await many()
  own.resume()
  for (const outcome of whileAway) assert.equal(outcome.status, 'rejected')
  assert.equal((await store.get('a'))?.version, 1)
  assert.ok((await many()).every(({ status }) => status === 'fulfilled'))

  for (let version = 2; version <= 100; version++) await store.put(record({ id: 'a', version }), version - 1)
  await own.kill()
  for (const outcome of await many()) assert.equal(outcome.status, 'rejected')
  servers.unshift(await startMariadb({ port: own.port, folder: own.folder }))
  assert.equal((await store.get('a'))?.version, 100)
  assert.ok((await many()).every(({ status }) => status === 'fulfilled'))
})

async function statusOf(name: string): Promise<number> {
  const [rows] = await pools[1]!.query('SHOW GLOBAL STATUS LIKE ?', [name])
  return Number((rows as [{ Value: string }])[0].Value)
}
