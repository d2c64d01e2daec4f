// The contract on SQLite, and what it promises on its own: formats, several processes, nothing acknowledged lost.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { fakeClock, testStore } from 'holdfast/testing'

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
