// The engines whose stores are measured, a row each: how one starts, its store, and the engine's own client at its plainest.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { DynamoDB } from '@aws-sdk/client-dynamodb'
import type { SessionRecord, Store, SweepableStore } from 'holdfast'
import { dynamodbStore, dynamodbTable } from 'holdfast/stores/dynamodb'
import { memcachedStore } from 'holdfast/stores/memcached'
import { memoryStore } from 'holdfast/stores/memory'
import { mysqlStore, mysqlStoreSchema } from 'holdfast/stores/mysql'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { postgresStore, postgresStoreSchema } from 'holdfast/stores/postgres'
import { redisStore } from 'holdfast/stores/redis'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { MemcacheClient } from 'memcache-client'
import { createPool, type RowDataPacket } from 'mysql2/promise'
import { Pool } from 'pg'
import { createClient } from 'redis'
import { startDynamodb } from '../../scripts/servers/dynamodb.ts'
import { startMariadb } from '../../scripts/servers/mariadb.ts'
import { startMemcached } from '../../scripts/servers/memcached.ts'
import { startNats } from '../../scripts/servers/nats.ts'
import { startPostgres } from '../../scripts/servers/postgres.ts'
import { startRedis } from '../../scripts/servers/redis.ts'
import type { Server } from '../../scripts/servers/server.ts'
import { withoutTimeout } from './contender.ts'
import { loadCore, pin } from './machine.ts'

export interface Engine extends AsyncDisposable {
  readonly version: string
  readonly store: Store | SweepableStore
  /** `null` where there is no client but the store. */
  readonly plain: Plain | null
  /** Writes new sessions many at a time, as the store would one by one; `null` where that gains nothing. */
  readonly load: ((records: readonly SessionRecord[]) => Promise<unknown>) | null
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
    return {
      version: process.version,
      store: memoryStore({ clock }),
      plain: null,
      load: null,
      bytes: null,
      ...closedBy(),
    }
  },

  async sqlite(clock) {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
    const database = new DatabaseSync(join(folder, 'sessions.db'))
    const store = sqliteStore(database, { clock })
    const select = database.prepare('SELECT * FROM sessions WHERE id = ?')
    const set = plainUpdate('sessions', camelCase, () => '?')
    const update = database.prepare(set.text)
    const size = database.prepare('SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size')
    return {
      version: (database.prepare('SELECT sqlite_version() AS version').get() as { version: string }).version,
      store,
      plain: {
        get: async (id) => select.get(id),
        set: async (id, row: Row) => update.run(...set.values(id, row)),
      },
      load: null,
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
      load: null,
      bytes: async () => Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))![1]),
      ...closedBy(() => client.destroy(), server.stop),
    }
  },

  async postgres(clock) {
    const server = await onItsCore(startPostgres({ settings: { shared_buffers: '1GB' } }))
    const pool = new Pool({ connectionString: server.url, max: connections })
    await pool.query(postgresStoreSchema())
    const table = 'holdfast_sessions'
    const select = { name: 'plain get', text: `SELECT * FROM ${table} WHERE id = $1` }
    const set = plainUpdate(table, snakeCase, (i) => `$${i}`)
    const ask = async (text: string) => (await pool.query<Row>(text)).rows[0]!
    return {
      version: String((await ask('SHOW server_version'))['server_version']).split(' ')[0]!,
      store: postgresStore(pool, { clock }),
      plain: {
        get: async (id) => (await pool.query<Row>({ ...select, values: [id] })).rows[0],
        set: (id, row: Row) => pool.query({ name: 'plain set', text: set.text, values: set.values(id, row) }),
      },
      load: (records) =>
        pool.query(`INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`, [
          JSON.stringify(
            records.map((record) => ({
              ...Object.fromEntries(snakeCase.map((column, i) => [column, record[camelCase[i]!]])),
              id: record.id,
              sweep_at: record.expiresAt,
            })),
          ),
        ]),
      bytes: async () => Number((await ask(`SELECT pg_total_relation_size('${table}') AS bytes`))['bytes']),
      ...closedBy(() => pool.end(), server.stop),
    }
  },

  async mysql(clock) {
    const server = await onItsCore(
      startMariadb({ settings: { 'innodb-buffer-pool-size': '1G', 'innodb-log-file-size': '512M' } }),
    )
    const pool = createPool({ uri: server.url, connectionLimit: connections })
    for (const statement of mysqlStoreSchema()) await pool.query(statement)
    const table = 'holdfast_sessions'
    const set = plainUpdate(table, camelCase, () => '?')
    const ask = async (text: string, values: string[] = []) =>
      (await pool.execute<(RowDataPacket & Row)[]>(text, values))[0][0]
    return {
      version: String((await ask('SELECT VERSION() AS version'))!['version'])
        .replace('-MariaDB', ' (MariaDB)')
        .split('-')[0]!,
      store: mysqlStore(pool, { clock }),
      plain: {
        get: (id) => ask(`SELECT * FROM ${table} WHERE id = ?`, [id]),
        set: (id, row: Row) => pool.execute(set.text, set.values(id, row)),
      },
      load: (records) =>
        pool.query(`INSERT INTO ${table} (id, ${camelCase.join()}) VALUES ?`, [
          records.map((record) => [record.id, ...camelCase.map((column) => record[column])]),
        ]),
      async bytes() {
        await pool.query(`ANALYZE TABLE ${table}`)
        const size = `SELECT data_length + index_length AS bytes FROM information_schema.tables WHERE table_name = ?`
        return Number((await ask(size, [table]))!['bytes'])
      },
      ...closedBy(() => pool.end(), server.stop),
    }
  },

  async memcached(clock) {
    const server = await onItsCore(startMemcached({ flags: ['-m', '4096'] }))
    const client = new MemcacheClient({
      server: { server: `127.0.0.1:${server.port}`, maxConnections: 4 },
      noDelay: true,
      cmdTimeout: 5000,
    })
    const key = (id: string) => `hf:s:${createHash('sha256').update(id).digest('base64url')}`
    const lifetime = 1800
    return {
      version: String((await client.version())[1]),
      store: memcachedStore(client, { clock }),
      plain: {
        get: async (id) => (await client.get<Buffer>(key(id)))?.value,
        set: (id, value: Buffer) => client.set(key(id), value, { lifetime }),
      },
      load: null,
      async bytes() {
        const { STAT } = await client.cmd<{ STAT: readonly [string, string][] }>('stats')
        return Number(new Map(STAT).get('bytes'))
      },
      ...closedBy(() => client.shutdown(), server.stop),
    }
  },

  async nats(clock) {
    const server = await onItsCore(startNats())
    const connection = await connect({ servers: server.url, noAsyncTraces: true })
    const manager = await jetstreamManager(connection, { timeout: 5000 })
    const { name } = await manager.streams.add(natsStoreStream()).then(({ config }) => config)
    const publisher = manager.jetstream()
    const subject = (id: string) => `${name}.s.${id}`
    return {
      version: connection.info!.version,
      store: natsStore(connection, manager, { clock }),
      plain: {
        get: async (id) => (await manager.streams.getMessage(name, { last_by_subj: subject(id) }))?.data,
        set: (id, value: Uint8Array) => publisher.publish(subject(id), value),
      },
      load: null,
      bytes: async () => (await manager.streams.info(name)).state.bytes,
      ...closedBy(() => connection.close(), server.stop),
    }
  },

  async dynamodb(clock) {
    const server = await onItsCore(startDynamodb())
    const TableName = 'sessions'
    const client = new DynamoDB({
      endpoint: server.url,
      region: 'local',
      credentials: { accessKeyId: 'bench', secretAccessKey: 'bench' },
      requestHandler: { connectionTimeout: 1000, requestTimeout: 10_000 },
    })
    await client.createTable(dynamodbTable(TableName).create)
    while ((await client.describeTable({ TableName })).Table?.TableStatus !== 'ACTIVE');
    const keyOf = (id: string) => ({ pk: { S: `s#${id}` }, sk: { S: '-' } })
    return {
      version: '(dynalite)',
      store: dynamodbStore(client, { table: TableName, clock }),
      plain: {
        get: async (id) => (await client.getItem({ TableName, Key: keyOf(id), ConsistentRead: true })).Item,
        set: (_id, item: Item) => client.putItem({ TableName, Item: item }),
      },
      load: null,
      bytes: null,
      ...closedBy(() => client.destroy(), server.stop),
    }
  },
}

type Item = NonNullable<Parameters<DynamoDB['putItem']>[0]['Item']>

/** Of a pool: its default in both. */
const connections = 10

/** RESP's `$`, the type of a value. */
const blobString = 36

type Row = Record<string, string | number>

const camelCase = [
  'userId',
  'credential',
  'identity',
  'data',
  'createdAt',
  'seenAt',
  'expiresAt',
  'epoch',
  'version',
] as const
const snakeCase = camelCase.map((column) => column.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`))

/** An UPDATE of all columns. The instants and the version move as they do in the store's: an engine notices when nothing changes. */
function plainUpdate(table: string, columns: readonly string[], parameter: (i: number) => string) {
  const assignments = columns.map((column, i) => `${column} = ${parameter(i + 1)}`)
  return {
    text: `UPDATE ${table} SET ${assignments.join(', ')} WHERE id = ${parameter(columns.length + 1)}`,
    values: (id: string, row: Row) => [
      ...columns.map((column) =>
        /^(seen|expires|version)/.test(column) ? (row[column] = Number(row[column]) + 1) : row[column]!,
      ),
      id,
    ],
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
