// Sessions in an SQLite file: one machine, any number of processes, nothing to install.
import { closeSync, openSync, statSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { ConfigError } from 'holdfast'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { StartError } from '../start-error.ts'
import type { Engine } from './engine.ts'
import { sqliteFeed } from 'holdfast/feeds/sqlite'

export async function sqliteEngine(path: string): Promise<Engine> {
  const open = await loadSqlite()
  const opened: DatabaseSync[] = []
  try {
    // Before SQLite does, which would make it readable for others; its -wal and -shm files take the mode from it.
    closeSync(openSync(path, 'a', 0o600))
    for (let i = 0; i < 3; i++) opened.push(open(path))
    const [first, second, third] = opened
    return {
      sessions: sqliteStore(first!),
      clients: sqliteStore(second!, { table: 'clients' }),
      feed: sqliteFeed(third!),
      // The whole file is read, and the thread waits for it.
      inspect: async (when) => [inspectMode(path), ...(when === 'at-start' ? [] : [inspectFile(second!)])],
      async close() {
        for (const database of opened) database.close()
      },
    }
  } catch (error) {
    for (const database of opened) database.close()
    throw new StartError(`HOLDFAST_STORE: ${explain(path, error)}`, error)
  }
}

/** Node says at every start that node:sqlite is experimental; this release was tested with it, so that is left out. */
async function loadSqlite(): Promise<(path: string) => DatabaseSync> {
  const { emitWarning } = process
  process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    if (rest[0] !== 'ExperimentalWarning') emitWarning.call(process, warning, ...(rest as []))
  }
  try {
    const { DatabaseSync } = await import('node:sqlite')
    return (path) => new DatabaseSync(path)
  } finally {
    process.emitWarning = emitWarning
  }
}

function explain(path: string, error: unknown): string {
  const { message, code, errcode } = error as Error & { code?: string; errcode?: number }
  if (error instanceof ConfigError) return message
  if (errcode === 26) return `${path} is not an SQLite file: name another file`
  if (errcode !== undefined)
    return `the SQLite file ${path} can't be used (${message}): see that this user may write to it and its folder`
  return `the file ${path} can't be written (${code ?? message}): make it and its folder writable for this user, or name another file`
}

function inspectMode(path: string): { what: string; ok: boolean; found: string; advice: string | null } {
  const mode = statSync(path).mode & 0o777
  const ok = (mode & 0o077) === 0
  return {
    what: 'mode of the SQLite file',
    ok,
    found: `${mode.toString(8).padStart(4, '0')} ${path}`,
    advice: ok ? null : `others on this machine can read or change it: chmod 600 '${path}'`,
  }
}

function inspectFile(database: DatabaseSync): { what: string; ok: boolean; found: string; advice: string | null } {
  const { quick_check: result } = database.prepare('PRAGMA quick_check(1)').get() as { quick_check: string }
  const ok = result === 'ok'
  return { what: 'SQLite file', ok, found: ok ? 'whole' : result, advice: ok ? null : 'restore it from a backup' }
}
