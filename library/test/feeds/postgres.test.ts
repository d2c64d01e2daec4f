// The contract on PostgreSQL, and what only it can do wrong.
import { after, before, test } from 'node:test'
import { postgresFeed, postgresFeedSchema } from 'holdfast/feeds/postgres'
import { testFeed } from 'holdfast/testing'
import { Pool } from 'pg'
import { startPostgres, type Server } from '../../../scripts/servers.ts'

let server: Server
const pools: Pool[] = []
let tables = 0

before(async () => {
  server = await startPostgres()
  for (let i = 0; i < 2; i++) {
    const pool = new Pool({ connectionString: server.url, max: 12 })
    pool.on('error', () => {})
    pools.push(pool)
  }
})
after(async () => {
  for (const pool of pools) await pool.end()
  await server.stop()
})

async function make() {
  const table = `feed_${tables++}`
  await pools[0]!.query(postgresFeedSchema(table))
  return {
    table,
    feed: postgresFeed(pools[0]!, { table }),
    another: () => postgresFeed(pools[1]!, { table }),
    trim: async () => void (await pools[0]!.query(`DELETE FROM ${table}`)),
  }
}

testFeed('postgres', make, { test })
