// The store that a process of a test is told to use.
import { DatabaseSync } from 'node:sqlite'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { Store } from 'holdfast'
import { postgresStore } from 'holdfast/stores/postgres'
import { mysqlStore } from 'holdfast/stores/mysql'
import { memcachedStore } from 'holdfast/stores/memcached'
import { natsStore } from 'holdfast/stores/nats'
import { redisStore } from 'holdfast/stores/redis'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { Pool } from 'pg'
import { createPool } from 'mysql2/promise'
import { MemcacheClient } from 'memcache-client'
import { createClient } from 'redis'

export const callsAtOnce = 5

export async function storeOf(url: string): Promise<{ store: Store; close: () => void }> {
  if (url.startsWith('redis:')) {
    const client = createClient({ url })
    client.on('error', () => {})
    await client.connect()
    return { store: redisStore(client), close: () => client.destroy() }
  }
  if (url.startsWith('postgres:')) {
    const pool = new Pool({ connectionString: url })
    return { store: postgresStore(pool), close: () => void pool.end() }
  }
  if (url.startsWith('mysql:')) {
    const pool = createPool({ uri: url, connectionLimit: callsAtOnce })
    // Connections are slow to make on a machine that is busy.
    const connections = await Promise.all(Array.from({ length: callsAtOnce }, () => pool.getConnection()))
    for (const connection of connections) connection.release()
    return { store: mysqlStore(pool), close: () => void pool.end() }
  }
  if (url.startsWith('memcached:')) {
    const client = new MemcacheClient({ server: new URL(url).host })
    return { store: memcachedStore(client), close: () => client.shutdown() }
  }
  if (url.startsWith('nats:')) {
    const connection = await connect({ servers: url, noAsyncTraces: true })
    const store = natsStore(connection, await jetstreamManager(connection))
    return { store, close: () => void connection.close() }
  }
  const database = new DatabaseSync(url)
  return { store: sqliteStore(database), close: () => database.close() }
}
