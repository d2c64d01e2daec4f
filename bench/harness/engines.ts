// The engines whose stores are measured, a row each: how one starts, its store, and the engine's own client at its plainest.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Store, SweepableStore } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'
import { redisStore } from 'holdfast/stores/redis'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { createClient } from 'redis'
import { startRedis } from '../../scripts/servers/redis.ts'
import type { Server } from '../../scripts/servers/server.ts'
import { withoutTimeout } from './contender.ts'
import { loadCore, pin } from './machine.ts'

export interface Engine extends AsyncDisposable {
  readonly version: string
  readonly store: Store | SweepableStore
  /** `null` where there is no client but the store. */
  readonly plain: Plain | null
  /** What the sessions take, in bytes; `null` where it can't be told. */
  readonly bytes: (() => Promise<number>) | null
}

/** A read by key and a write by key without a condition, by the client that the store was given. */
export interface Plain {
  /** What the store keeps of a session, as the engine gives it. */
  get(id: string): Promise<unknown>
  /** Writes what `get` gave over whatever is there. */
  set(id: string, what: never): Promise<unknown>
}

/** What the store goes by, so that time can be moved. */
export interface Clock {
  now(): number
}

export const engines: Readonly<Record<string, (clock: Clock) => Promise<Engine>>> = {
  async memory(clock) {
    return { version: process.version, store: memoryStore({ clock }), plain: null, bytes: null, ...closedBy() }
  },

  async sqlite(clock) {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
    const database = new DatabaseSync(join(folder, 'sessions.db'))
    const store = sqliteStore(database, { clock })
    const select = database.prepare('SELECT * FROM sessions WHERE id = ?')
    const set = plainUpdate('sessions', ['seenAt', 'expiresAt', 'version'], () => '?')
    const update = database.prepare(set.text)
    const size = database.prepare('SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size')
    return {
      version: (database.prepare('SELECT sqlite_version() AS version').get() as { version: string }).version,
      store,
      plain: {
        get: async (id) => select.get(id),
        set: async (id, row: Row) => update.run(...set.values(id, row)),
      },
      bytes: async () => (size.get() as { bytes: number }).bytes,
      ...closedBy(() => {
        database.close()
        rmSync(folder, { recursive: true })
      }),
    }
  },

  async redis(clock) {
    const server = await onItsCore(startRedis())
    const client = createClient({ url: server.url, ...withoutTimeout })
    client.on('error', (error: unknown) => {
      throw error
    })
    await Promise.all([once(client, 'ready'), client.connect()])
    const bytes = client.withTypeMapping({ [blobString]: Buffer })
    return {
      version: /^redis_version:(.+)$/m.exec(await client.info('server'))![1]!.trim(),
      store: redisStore(client, { clock }),
      plain: {
        get: (id) => bytes.get(`hf:s:${id}`),
        set: (id, value: Buffer) => client.set(`hf:s:${id}`, value, { expiration: { type: 'EX', value: 1800 } }),
      },
      bytes: async () => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1]),
      ...closedBy(() => client.destroy(), server.stop),
    }
  },
}

/** RESP's `$`, the type of a value. */
const blobString = 36

type Row = Record<string, string | number>

/** An UPDATE of all columns, in which the instants and the version move as they do in the store's: an engine notices when nothing changes. */
function plainUpdate(table: string, moving: readonly string[], parameter: (i: number) => string) {
  const columns = ['userId', 'credential', 'identity', 'data', 'createdAt', 'seenAt', 'expiresAt', 'epoch', 'version']
  const assignments = columns.map((column, i) => `${column} = ${parameter(i + 1)}`)
  return {
    text: `UPDATE ${table} SET ${assignments.join(', ')} WHERE id = ${parameter(columns.length + 1)}`,
    values(id: string, row: Row) {
      for (const column of moving) row[column] = Number(row[column]) + 1
      return [...columns.map((column) => row[column]!), id]
    },
  }
}

/** Away from the core of the process under measurement. */
async function onItsCore<T extends Server>(starting: Promise<T>): Promise<T> {
  const server = await starting
  pin(server.pid, loadCore)
  return server
}

function closedBy(...steps: readonly (() => unknown)[]): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      for (const step of steps) await step()
    },
  }
}
