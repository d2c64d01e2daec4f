// The store that a process of a test is told to use.
import { DatabaseSync } from 'node:sqlite'
import type { Store } from 'holdfast'
import { redisStore } from 'holdfast/stores/redis'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { createClient } from 'redis'

export async function storeOf(url: string): Promise<{ store: Store; close: () => void }> {
  if (url.startsWith('redis:')) {
    const client = createClient({ url })
    client.on('error', () => {})
    await client.connect()
    return { store: redisStore(client), close: () => client.destroy() }
  }
  const database = new DatabaseSync(url)
  return { store: sqliteStore(database), close: () => database.close() }
}
