// The contract on PostgreSQL, and what it promises on its own.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { postgresStore, postgresStoreSchema } from 'holdfast/stores/postgres'
import { fakeClock, testStore } from 'holdfast/testing'
import { Pool } from 'pg'
import { startPostgres } from '../../../scripts/servers/postgres.ts'
import type { Server } from '../../../scripts/servers/server.ts'

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
    store: postgresStore(pools[one]!, { table, clock }),
    another: () => postgresStore(pools[two]!, { table, clock }),
    ...(clock && { clock }),
  }
}

testStore('postgres', () => make(fakeClock()), { test })
testStore('postgres, in real time', () => make(), { test })
testStore('postgres, serializable', () => make(fakeClock(), [2, 2]), { test })
