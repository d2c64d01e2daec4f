// A table that a newer Holdfast made is refused by an older one, which could read it wrongly.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError, type Store } from 'holdfast'
import { mysqlStore, mysqlStoreSchema } from 'holdfast/stores/mysql'
import { postgresStore, postgresStoreSchema } from 'holdfast/stores/postgres'
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { startMariadb } from '../../../scripts/servers/mariadb.ts'
import { startPostgres } from '../../../scripts/servers/postgres.ts'
import { record } from './record.ts'

/** A table and its store on one engine. */
interface Table {
  make(): Promise<unknown>
  comment(words: string): Promise<unknown>
  commented(): Promise<unknown>
  open(): Store
  close(): Promise<void>
}

const name = 'formats_of_tests'

const engines: Readonly<Record<string, () => Promise<Table>>> = {
  async postgres() {
    const server = await startPostgres()
    const pool = new Pool({ connectionString: server.url })
    return {
      make: () => pool.query(postgresStoreSchema(name)),
      comment: (words) => pool.query(`COMMENT ON TABLE ${name} IS '${words}'`),
      commented: async () => (await pool.query(`SELECT obj_description('${name}'::regclass) AS said`)).rows[0]!['said'],
      open: () => postgresStore(pool, { table: name }),
      async close() {
        await pool.query(`DROP TABLE IF EXISTS ${name}`)
        await pool.end()
        await server.stop()
      },
    }
  },
  async mariadb() {
    const server = await startMariadb()
    const pool = createPool({ uri: server.url })
    return {
      make: () => pool.query(mysqlStoreSchema(name)[0]!),
      comment: (words) => pool.query(`ALTER TABLE ${name} COMMENT = '${words}'`),
      async commented() {
        const [rows] = await pool.query(`SHOW TABLE STATUS LIKE '${name}'`)
        return (rows as { Comment: string }[])[0]!.Comment
      },
      open: () => mysqlStore(pool, { table: name }),
      async close() {
        await pool.query(`DROP TABLE IF EXISTS ${name}`)
        await pool.end()
        await server.stop()
      },
    }
  },
}

for (const [engine, start] of Object.entries(engines)) {
  test(`${engine}: a table of a newer Holdfast is refused by every call, until it is one that is known`, async (t) => {
    const table = await start()
    t.after(() => table.close())
    // A table that is not there is said to be missing, and found when it was made.
    const store = table.open()
    await assert.rejects(store.get('a'), /Schema\(\)/)
    await table.make()
    assert.equal(await table.commented(), 'Holdfast sessions, format 1')
    await table.comment('Holdfast sessions, format 7')
    const refused = (error: unknown) => {
      assert.ok(error instanceof ConfigError)
      assert.match(
        error.message,
        /formats_of_tests was made by a newer Holdfast \(format 7; this one knows 1\): upgrade/,
      )
      return true
    }
    const one = record()
    for (let i = 0; i < 2; i++) {
      await assert.rejects(store.get('a'), refused)
      await assert.rejects(store.put(one, null), refused)
      await assert.rejects(store.delete(['a']), refused)
      await assert.rejects(store.listByUser('anna'), refused)
    }
    // Words of somebody else's say nothing of a format.
    for (const words of ['of the shop', 'Holdfast sessions, format 1']) {
      await table.comment(words)
      const known = table.open()
      assert.equal(await known.put({ ...one, id: words.slice(0, 6) }, null), true)
    }
  })
}
