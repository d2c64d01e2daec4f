// The contract on MariaDB, and what a store in MySQL can do wrong on its own.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ConfigError, type SessionRecord } from 'holdfast'
import { mysqlStore, mysqlStoreSchema } from 'holdfast/stores/mysql'
import { fakeClock, testStore } from 'holdfast/testing'
import { createPool, type Pool, type PoolOptions } from 'mysql2/promise'
import { startMariadb, type Mariadb } from '../../../scripts/servers/mariadb.ts'

let server: Mariadb
const pools: Pool[] = []
let tables = 0

before(async () => {
  server = await startMariadb()
  for (let i = 0; i < 2; i++) pools.push(poolOf())
})
after(async () => {
  for (const pool of pools) await pool.end()
  await server.stop()
})

function poolOf(o: PoolOptions = {}): Pool {
  return createPool({ uri: server.url, connectTimeout: 1_000, ...o })
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
