// The contract on PostgreSQL, and what it promises on its own.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { ConfigError } from 'holdfast'
import { postgresStore, postgresStoreSchema } from 'holdfast/stores/postgres'
import { fakeClock, testStore } from 'holdfast/testing'
import { Pool } from 'pg'
import { startPostgres, startPostgresPair, type PostgresPair } from '../../../scripts/servers/postgres.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { runProcess, writtenUntilKilled } from './processes/processes.ts'
import { record } from './record.ts'

let server: Server
const pools: Pool[] = []
let tables = 0

before(async () => {
  server = await startPostgres()
  for (const options of [undefined, undefined, '-c default_transaction_isolation=serializable']) {
    const pool = new Pool({ connectionString: server.url, options })
    pool.on('error', () => {})
    pools.push(pool)
  }
})
after(async () => {
  for (const pool of pools) await pool.end()
  await server.stop()
})

async function make(clock?: ReturnType<typeof fakeClock>, [one, two] = [0, 1]) {
  const table = `sessions_${tables++}`
  await pools[0]!.query(postgresStoreSchema(table))
  return {
    table,
    store: postgresStore(pools[one]!, { table, clock }),
    another: () => postgresStore(pools[two]!, { table, clock }),
    ...(clock && { clock }),
  }
}

testStore('postgres', () => make(fakeClock()), { test })
testStore('postgres, in real time', () => make(), { test })
testStore('postgres, serializable', () => make(fakeClock(), [2, 2]), { test })

test('a table that nobody made is no outage: every call says what makes it', async () => {
  const store = postgresStore(pools[0]!, { table: 'forgotten' })
  for (const call of [() => store.get('a'), () => store.put(record({ id: 'a' }), null), () => store.delete(['a'])]) {
    await assert.rejects(call, (error: Error) => {
      assert.ok(error instanceof ConfigError)
      assert.match(error.message, /"forgotten".*: run postgresStoreSchema\(\), or holdfast migrate$/)
      return true
    })
  }
})

test('fifty increments by three processes are fifty', async () => {
  await pools[0]!.query(postgresStoreSchema())
  const store = postgresStore(pools[0]!)
  await store.put(record({ id: 'counter', data: '0' }), null)
  await Promise.all([17, 17, 16].map((times) => runProcess('increment.ts', [server.url, 'counter', String(times)])))
  assert.deepEqual([(await store.get('counter'))?.data, (await store.get('counter'))?.version], ['50', 51])
})

test('nothing acknowledged is lost when the writers are killed', async () => {
  await pools[0]!.query(postgresStoreSchema())
  const store = postgresStore(pools[0]!)
  const { ended, live } = await writtenUntilKilled(server.url)
  for (const id of ended) assert.equal(await store.get(id), null, id)
  for (const id of live) assert.equal((await store.get(id))?.data.trim(), id.split('-')[1])
})

test('a write that is rolled back because of others, again and again, is made when they are through', async () => {
  const { store, table } = await make()
  await pools[0]!.query(`
    CREATE SEQUENCE ${table}_tries;
    CREATE FUNCTION ${table}_others() RETURNS trigger AS $$
      BEGIN
        IF nextval('${table}_tries') <= 8 THEN RAISE EXCEPTION 'others were first' USING ERRCODE = '40001'; END IF;
        RETURN NEW;
      END
    $$ LANGUAGE plpgsql;
    CREATE TRIGGER others BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION ${table}_others()`)
  assert.equal(await store.put(record({ id: 'a' }), null), true)
  assert.equal((await store.get('a'))?.version, 1)
})

test('characters that PostgreSQL has no place for are not confused with what stands for them', async () => {
  const { store } = await make()
  const users = ['\0', '\u0001', '\u00010', '\u00011', '\u0001\u00011', '0', '1']
  for (const [i, userId] of users.entries()) await store.put(record({ id: `${userId}${i}`, userId }), null)
  for (const [i, userId] of users.entries()) {
    const found = await store.listByUser(userId)
    assert.deepEqual([found.length, found[0]?.id, found[0]?.userId], [1, `${userId}${i}`, userId])
  }
})

test('every statement finds its rows by an index', async () => {
  const { table } = await make()
  const pool = pools[0]!
  await pool.query(
    `INSERT INTO ${table} SELECT 'id' || i, 'user' || i / 3, '', '{}', '{}', i, i, i, 0, 1, i FROM generate_series(1, 20000) i`,
  )
  await pool.query(`ANALYZE ${table}`)
  const sent: Statement[] = []
  const store = postgresStore(
    watched(pool, (statement) => sent.push(statement)),
    { table },
  )
  // The first call looks at the format of the table, too.
  await store.get('none')
  sent.length = 0
  await store.get('id7')
  await store.get('id7', { settles: true })
  await store.listByUser('user7')
  await store.scan({ cursor: 'id7', limit: 10 })
  await store.put(record({ id: 'id7', version: 2 }), 1)
  await store.put(record({ id: 'id7', expiresAt: 0 }), 1)
  await store.delete(['id7', 'id8'])
  await store.sweep(10)
  const connection = await pool.connect()
  try {
    for (const [i, { text, values }] of sent.entries()) {
      await connection.query('BEGIN; SET LOCAL plan_cache_mode = force_generic_plan')
      await connection.query(`PREPARE p${i} AS ${text}`)
      const given = values.map((value) => (Array.isArray(value) ? `'{${value.join()}}'` : `'${String(value)}'`))
      const { rows } = await connection.query(`EXPLAIN EXECUTE p${i}(${given.join()})`)
      const plan = rows.map((row) => row['QUERY PLAN'] as string).join('\n')
      assert.doesNotMatch(plan, /Seq Scan|Sort/, `${text}\n${plan}`)
      assert.match(plan, /Index (Only )?Scan/, text)
      if (text.includes('SKIP LOCKED')) assert.match(plan, /Tid Scan/, plan)
      await connection.query('ROLLBACK')
    }
  } finally {
    connection.release(true)
  }
  assert.equal(sent.length, 8)
})

test('extending a session leaves the indexes alone, but for about once an hour', async () => {
  const clock = fakeClock()
  const { store, table } = await make(clock)
  let kept = record({ id: 'kept', expiresAt: clock.now() + 1_800_000 })
  await store.put(kept, null)
  const seen = new Set<unknown>()
  for (let minutes = 0; minutes < 600; minutes += 3) {
    clock.advance('180000ms')
    kept = { ...kept, expiresAt: clock.now() + 1_800_000, version: kept.version + 1 }
    assert.equal(await store.put(kept, kept.version - 1), true)
    assert.equal(await store.sweep(10), 0)
    seen.add((await pools[0]!.query(`SELECT sweep_at FROM ${table}`)).rows[0]['sweep_at'])
  }
  assert.ok(seen.size <= 11, `${seen.size} changes`)
  clock.advance('1800000ms')
  assert.equal(await store.get('kept'), null)
  clock.advance('3600000ms')
  assert.equal(await store.sweep(10), 1)
})

test('two sweep side by side, and neither waits for the other or takes what is written anew', async () => {
  const clock = fakeClock()
  const { store, another, table } = await make(clock)
  for (let i = 0; i < 100; i++) await store.put(record({ id: `s${i}`, expiresAt: clock.now() + 1_800_000 }), null)
  clock.advance('3600000ms')
  const other = await pools[0]!.connect()
  await other.query('BEGIN')
  await other.query(`SELECT FROM ${table} WHERE id = 's7' FOR UPDATE`)
  const [one, two] = await Promise.all([store.sweep(60), another().sweep(60)])
  assert.equal(one + two + (await store.sweep(60)), 99)
  await other.query('COMMIT')
  other.release()
  assert.equal(await store.put(record({ id: 's7', expiresAt: clock.now() + 1_800_000 }), null), true)
  assert.equal(await store.sweep(60), 0)
  assert.ok(await store.get('s7'))
})

test('a machine whose clock is ahead sweeps nothing that is live', async () => {
  const { store, table } = await make()
  const ahead = postgresStore(pools[1]!, { table, clock: { now: () => Date.now() + 3 * 3_600_000 } })
  await store.put(record({ id: 'a' }), null)
  assert.equal(await ahead.sweep(10), 0)
  assert.equal((await store.get('a'))?.id, 'a')
})

describe('a server that does not answer', () => {
  const leftAfter = (ms: number) => ({ signal: AbortSignal.timeout(ms) })

  test('a call whose caller left before there was a connection is not made', async () => {
    const { table, store } = await make()
    const pool = new Pool({ connectionString: server.url, max: 1 })
    const leaving = new AbortController()
    const only = await pool.connect()
    const put = postgresStore(pool, { table }).put(record({ id: 'late' }), null, { signal: leaving.signal })
    leaving.abort(new Error('left'))
    only.release()
    await assert.rejects(put, /left/)
    assert.equal(await store.get('late'), null)
    assert.deepEqual([pool.idleCount, pool.waitingCount], [1, 0])
    await pool.end()
  })

  test('calls that hang give their connections up, and after a pause it goes on', async () => {
    const { table } = await make()
    const pool = new Pool({ connectionString: server.url, max: 3, connectionTimeoutMillis: 2_000 })
    pool.on('error', () => {})
    const store = postgresStore(pool, { table })
    await store.put(record({ id: 'a' }), null)
    server.pause()
    try {
      const calls = Array.from({ length: 9 }, () => assert.rejects(store.get('a', leftAfter(100))))
      await Promise.all(calls)
    } finally {
      server.resume()
    }
    assert.equal((await store.get('a'))?.id, 'a')
    await pool.end()
  })

  test('when another one has taken its address, no call is made on the old connections', async () => {
    const { table } = await make()
    const { port, hangUp, close } = await switchboard(server.port)
    const pool = new Pool({ connectionString: server.url.replace(`${server.port}`, `${port}`), max: 4 })
    pool.on('error', () => {})
    const store = postgresStore(pool, { table })
    await Promise.all(Array.from({ length: 4 }, () => store.get('a')))
    assert.equal(pool.totalCount, 4)
    hangUp()
    await assert.rejects(store.get('a', leftAfter(50)))
    assert.equal(await store.get('a', leftAfter(5_000)), null)
    assert.equal(pool.totalCount, 1)
    await pool.end()
    close()
  })
})

describe('a primary with a synchronous standby', () => {
  let pair: PostgresPair
  const pairPools: Pool[] = []
  /** What was written is visible on the standby only once that has replayed it; a synchronous one has answered for it before. */
  const replayed = async () => {
    const [primary, standby] = pairPools as [Pool, Pool]
    const { lsn } = (await primary.query('SELECT pg_current_wal_insert_lsn() AS lsn')).rows[0]
    while (!(await standby.query('SELECT pg_last_wal_replay_lsn() >= $1 AS yes', [lsn])).rows[0].yes);
  }
  before(async () => {
    pair = await startPostgresPair()
    for (const { url } of [pair.primary, pair.standby]) {
      const pool = new Pool({ connectionString: url })
      pool.on('error', () => {})
      pairPools.push(pool)
    }
    await pairPools[0]!.query(postgresStoreSchema())
  })
  after(async () => {
    for (const pool of pairPools) await pool.end()
    await pair.stop()
  })

  test('the standby is not believed, and takes no writes', async () => {
    const [store, stale] = [postgresStore(pairPools[0]!), postgresStore(pairPools[1]!)]
    await store.put(record({ id: 'a' }), null)
    await replayed()
    for (const id of ['a', 'b']) await assert.rejects(stale.get(id), /is a standby/)
    await assert.rejects(stale.listByUser('anna'), /is a standby/)
    await assert.rejects(stale.put(record({ id: 'a', version: 2 }), 1), { code: '25006' })
    await assert.rejects(stale.put(record({ id: 'a', expiresAt: 0 }), 1), { code: '25006' })
    await assert.rejects(stale.delete(['a']), { code: '25006' })
  })

  test('a write that only the primary has, since the wait was called off, is not acknowledged, nor settled by reading', async () => {
    const [pool] = pairPools as [Pool]
    const store = postgresStore(pool)
    const waiting = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`
    const callOff = async () => {
      while ((await pool.query(waiting)).rowCount === 0);
    }
    await store.put(record({ id: 'ending' }), null)
    pair.standby.pause()
    try {
      await Promise.all([
        callOff(),
        assert.rejects(store.put(record({ id: 'lonely' }), null), /committed with a warning/),
      ])
      await Promise.all([callOff(), assert.rejects(store.delete(['ending']), /committed with a warning/)])
      assert.equal((await store.get('lonely'))?.id, 'lonely')
      await Promise.all([callOff(), assert.rejects(store.get('lonely', { settles: true }), /committed with a warning/)])
      await Promise.all([callOff(), assert.rejects(store.get('ending', { settles: true }), /committed with a warning/)])
    } finally {
      pair.standby.resume()
    }
    assert.equal((await store.get('lonely', { settles: true }))?.id, 'lonely')
    assert.equal(await store.get('ending', { settles: true }), null)
  })
})

describe('the table', () => {
  test('can be made by many at once, in a schema, and again', async () => {
    const [one, two] = pools as [Pool, Pool]
    await one.query('CREATE SCHEMA shop')
    const schema = postgresStoreSchema('shop.sessions')
    await Promise.all(Array.from({ length: 10 }, (_, i) => [one, two][i % 2]!.query(schema)))
    const store = postgresStore(one, { table: 'shop.sessions' })
    await store.put(record({ id: 'a' }), null)
    await two.query(schema)
    assert.ok(await store.get('a'))
  })

  test('says its format, which an older Holdfast leaves as it is', async () => {
    const { table } = await make()
    const comment = async () =>
      (await pools[0]!.query(`SELECT obj_description('${table}'::regclass) AS said`)).rows[0]['said'] as string
    assert.equal(await comment(), 'Holdfast sessions, format 1')
    await pools[0]!.query(`COMMENT ON TABLE ${table} IS 'Holdfast sessions, format 2'`)
    await pools[0]!.query(postgresStoreSchema(table))
    assert.equal(await comment(), 'Holdfast sessions, format 2')
  })

  test('must have the name of one', () => {
    for (const table of ['a"b', 'a b', 'a.b.c', '', 'A', 'x'.repeat(51)]) {
      assert.throws(() => postgresStore(pools[0]!, { table }), /table: expected a name/, table)
      assert.throws(() => postgresStoreSchema(table), /table: expected a name/, table)
    }
  })

  test('has a pool in common with others', async () => {
    const pool = new Pool({
      connectionString: server.url,
      max: 1,
      types: { getTypeParser: () => (text: string) => text },
    })
    const [shop, crm] = await Promise.all([make(), make()])
    const [one, two] = [postgresStore(pool, shop), postgresStore(pool, crm)]
    await one.put(record({ id: 'a' }), null)
    assert.deepEqual([(await one.get('a'))?.version, await two.get('a')], [1, null])
    await pool.end()
  })
})

/** The same pool, whose statements are shown to `seen`. */
function watched(pool: Pool, seen: (statement: Statement) => void): Parameters<typeof postgresStore>[0] {
  return {
    connect(leased) {
      pool.connect((error, connection) => {
        if (connection === undefined) return leased(error, connection)
        leased(undefined, {
          query(statement: Statement) {
            seen(statement)
            return connection.query(statement)
          },
          on: connection.on.bind(connection),
          off: connection.off.bind(connection),
          release: (destroy?: boolean) => connection.release(destroy),
        } as never)
      })
    },
  }
}

interface Statement {
  readonly text: string
  readonly values: unknown[]
}

/** An address behind which a server is. What was connected when it hangs up hears nothing any more, not even that; who comes later gets through. */
async function switchboard(to: number) {
  let lines: (readonly [Socket, Socket])[] = []
  const listener = createServer((near) => {
    const far = connect(to, '127.0.0.1')
    lines.push([near, far])
    for (const end of [near, far]) end.on('error', () => {})
    near.pipe(far).pipe(near)
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    port: (listener.address() as AddressInfo).port,
    hangUp() {
      for (const [near, far] of lines) {
        near.unpipe().resume()
        far.unpipe().resume()
      }
      lines = []
    },
    close: () => void listener.close(),
  }
}
