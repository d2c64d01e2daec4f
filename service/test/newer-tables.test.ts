// A service refuses to start on tables that a newer Holdfast made, and says what to do.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { startMariadb } from '../../scripts/servers/mariadb.ts'
import { startPostgres } from '../../scripts/servers/postgres.ts'
import { openEngine } from '../src/engines/engine.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { adminSecret, holdfast } from './service.ts'

const newer = 'Holdfast sessions, format 7'

const engines: Readonly<
  Record<string, (use: (url: string, age: (table: string) => Promise<unknown>) => Promise<void>) => Promise<void>>
> = {
  async postgres(use) {
    const server = await startPostgres()
    const pool = new Pool({ connectionString: server.url })
    await pool.query('CREATE DATABASE newer')
    const url = server.url.replace(/\/[^/]*$/, '/newer')
    const there = new Pool({ connectionString: url })
    await use(url, (table) => there.query(`COMMENT ON TABLE ${table} IS '${newer}'`)).finally(async () => {
      await there.end()
      await pool.query('DROP DATABASE newer')
      await pool.end()
      await server.stop()
    })
  },
  async mariadb(use) {
    const server = await startMariadb()
    const pool = createPool({ uri: server.url })
    await pool.query('CREATE DATABASE newer')
    const url = server.url.replace(/\/[^/]*$/, '/newer')
    await use(url, (table) => pool.query(`ALTER TABLE newer.${table} COMMENT = '${newer}'`)).finally(async () => {
      await pool.query('DROP DATABASE newer')
      await pool.end()
      await server.stop()
    })
  },
}

for (const [engine, run] of Object.entries(engines)) {
  test(`${engine}: holdfast serve exits with one line`, () =>
    run(async (url, age) => {
      await (await openEngine(parseStoreUrl(url))).close()
      await age('holdfast_sessions')
      const { code, err } = holdfast(['serve'], { HOLDFAST_STORE: url, HOLDFAST_ADMIN_SECRET: adminSecret })
      assert.equal(code, 1)
      assert.match(
        err,
        /^holdfast: HOLDFAST_STORE: .*holdfast_sessions was made by a newer Holdfast \(format 7; this one knows 1\): upgrade Holdfast.*\n$/,
      )
    }))
}
