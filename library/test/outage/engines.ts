// The engines that sessions are kept in, each as a server that can be made to fail, a store on it, and a plain request of its own.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DynamoDB } from '@aws-sdk/client-dynamodb'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { Feed, Store } from 'holdfast'
import { mysqlFeed, mysqlFeedSchema } from 'holdfast/feeds/mysql'
import { natsFeed, natsFeedStream } from 'holdfast/feeds/nats'
import { postgresFeed, postgresFeedSchema } from 'holdfast/feeds/postgres'
import { redisFeed } from 'holdfast/feeds/redis'
import { dynamodbStore, dynamodbTable } from 'holdfast/stores/dynamodb'
import { encrypted } from 'holdfast/stores/encrypted'
import { memcachedStore } from 'holdfast/stores/memcached'
import { mysqlStore, mysqlStoreSchema } from 'holdfast/stores/mysql'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { postgresStore, postgresStoreSchema } from 'holdfast/stores/postgres'
import { redisStore } from 'holdfast/stores/redis'
import { MemcacheClient } from 'memcache-client'
import { createConnection, createPool } from 'mysql2/promise'
import { Client, Pool } from 'pg'
import { createClient } from 'redis'
import { startDynamodb } from '../../../scripts/servers/dynamodb.ts'
import { startMariadb } from '../../../scripts/servers/mariadb.ts'
import { startMemcached } from '../../../scripts/servers/memcached.ts'
import { startNats } from '../../../scripts/servers/nats.ts'
import { startPostgres } from '../../../scripts/servers/postgres.ts'
import { startRedis } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'

export interface RunningEngine {
  readonly store: Store
  /** On the same server; `null` where there is none. */
  readonly feed: Feed | null
  /** As it runs now. */
  server(): Server
  /** Starts a killed one again, at the same port, with what it kept. */
  restart(): Promise<void>
  /** A request over a connection of its own, without any of ours. */
  ask(): Promise<unknown>
  stop(): Promise<void>
}

export interface Engine {
  readonly name: string
  /** Whether what was acknowledged is still there after `kill -9`. */
  readonly keeps: boolean
  readonly hasFeed: boolean
  start(): Promise<RunningEngine>
}

/** What the docs of each store say that its client should be given. */
export const engines: readonly Engine[] = [
  { name: 'redis', keeps: true, hasFeed: true, start: () => redis() },
  {
    name: 'redis, encrypted',
    keeps: true,
    hasFeed: false,
    start: () => redis((store) => encrypted(store, 'k'.repeat(32))),
  },
  { name: 'postgres', keeps: true, hasFeed: true, start: postgres },
  { name: 'mysql', keeps: true, hasFeed: true, start: mysql },
  { name: 'memcached', keeps: false, hasFeed: false, start: memcached },
  { name: 'nats', keeps: true, hasFeed: true, start: nats },
  { name: 'dynamodb', keeps: false, hasFeed: false, start: dynamodb },
]

async function redis(through: (store: Store) => Store = (store) => store): Promise<RunningEngine> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-outage-'))
  // With `everysec` a killed server can have kept up to two seconds of acknowledged writes to itself.
  const o = { folder, settings: { appendonly: 'yes', appendfsync: 'always' } }
  let server = await startRedis(o)
  const { url, port } = server
  const socket = { reconnectStrategy: (retries: number) => Math.min(50 * 2 ** retries, 500) }
  const client = createClient({ url, socket, disableOfflineQueue: true })
  client.on('error', () => {})
  await client.connect()
  return {
    store: through(redisStore(client)),
    feed: redisFeed(client),
    server: () => server,
    restart: async () => void (server = await startRedis({ ...o, port })),
    async ask() {
      const plain = createClient({ url, socket: { reconnectStrategy: false } })
      plain.on('error', () => {})
      await plain.connect()
      await plain.ping()
      plain.destroy()
    },
    async stop() {
      client.destroy()
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function postgres(): Promise<RunningEngine> {
  let server = await startPostgres()
  const { url, port, folder } = server
  const pool = new Pool({ connectionString: url, connectionTimeoutMillis: 2_000, keepAlive: true })
  pool.on('error', () => {})
  await pool.query(postgresStoreSchema())
  await pool.query(postgresFeedSchema())
  return {
    store: postgresStore(pool),
    feed: postgresFeed(pool),
    server: () => server,
    restart: async () => void (server = await again(() => startPostgres({ port, folder }))),
    async ask() {
      const plain = new Client(url)
      plain.on('error', () => {})
      await plain.connect()
      await plain.query('SELECT 1')
      await plain.end()
    },
    async stop() {
      await pool.end()
      await server.stop()
    },
  }
}

async function mysql(): Promise<RunningEngine> {
  // With `0`, which tests like for its speed, a killed server loses what was committed last.
  const settings = { 'innodb-flush-log-at-trx-commit': '2' }
  let server = await startMariadb({ settings })
  const first = server
  const { url, port, folder } = server
  const pool = createPool({ uri: url, connectTimeout: 1_000, enableKeepAlive: true })
  for (const statement of [...mysqlStoreSchema(), ...mysqlFeedSchema()]) await pool.query(statement)
  return {
    store: mysqlStore(pool),
    feed: mysqlFeed(pool),
    server: () => server,
    restart: async () => void (server = await again(() => startMariadb({ port, folder, settings }))),
    async ask() {
      const plain = await createConnection(url)
      await plain.query('SELECT 1')
      plain.destroy()
    },
    async stop() {
      await pool.end()
      await server.stop()
      await first.stop()
    },
  }
}

async function memcached(): Promise<RunningEngine> {
  let server = await startMemcached()
  const { port } = server
  const clientOf = () =>
    new MemcacheClient({
      server: { server: `127.0.0.1:${port}`, maxConnections: 4 },
      noDelay: true,
      connectTimeout: 1_000,
      cmdTimeout: 2_000,
    })
  const client = clientOf()
  return {
    store: memcachedStore(client),
    feed: null,
    server: () => server,
    restart: async () => void (server = await startMemcached({ port })),
    async ask() {
      const plain = clientOf()
      await plain.get('any')
      plain.shutdown()
    },
    async stop() {
      client.shutdown()
      await server.stop()
    },
  }
}

async function nats(): Promise<RunningEngine> {
  const server = await startNats()
  const o = { servers: [server.url], noAsyncTraces: true }
  const connection = await connect({ ...o, maxReconnectAttempts: -1, reconnectTimeWait: 100 })
  const manager = await jetstreamManager(connection, { timeout: 1_000 })
  await manager.streams.add(natsStoreStream())
  await manager.streams.add(natsFeedStream())
  return {
    store: natsStore(connection, manager),
    feed: natsFeed(connection, manager),
    server: () => server,
    restart: () => server.restart(),
    async ask() {
      const plain = await connect(o)
      await plain.flush()
      await plain.close()
    },
    async stop() {
      await connection.close()
      await server.stop()
    },
  }
}

async function dynamodb(): Promise<RunningEngine> {
  let server = await startDynamodb()
  const { url, port } = server
  const table = 'sessions'
  const client = new DynamoDB({
    endpoint: url,
    region: 'local',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    requestHandler: { connectionTimeout: 1_000, requestTimeout: 2_000 },
  })
  const makeTable = async () => {
    await client.createTable(dynamodbTable(table).create)
    while ((await client.describeTable({ TableName: table })).Table?.TableStatus !== 'ACTIVE');
  }
  await makeTable()
  return {
    store: dynamodbStore(client, { table }),
    feed: null,
    server: () => server,
    async restart() {
      server = await startDynamodb({ port })
      await makeTable()
    },
    ask: () => client.listTables({}),
    async stop() {
      client.destroy()
      await server.stop()
    },
  }
}

/** What a killed server left behind (a socket, memory that its children share) may be in the way for a moment. */
async function again<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start()
    } catch (error) {
      if (attempt === 20) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
