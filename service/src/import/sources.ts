// What stores of express-session have: the live ones, page by page.
import { createClient } from 'redis'
import { primaryPool } from '../engines/postgres-pool.ts'
import { StartError } from '../start-error.ts'

/** A session as its store has it. `json` may be anything. */
export interface Found {
  readonly sid: string
  readonly json: string
  /** Milliseconds since the epoch; `null`: its store does not know. */
  readonly expiresAt: number | null
}

export interface Source {
  /** One may be seen twice. */
  pages(): AsyncIterable<readonly Found[]>
  close(): Promise<void>
}

export interface Place {
  readonly url: string
  /** Without user name and password. */
  readonly shown: string
}

const pageSize = 500

export async function connectRedisSource({ url, shown }: Place, prefix: string): Promise<Source> {
  const client = createClient({ url, socket: { connectTimeout: 2_000, reconnectStrategy: false } })
  // What fails is heard where it was asked for.
  client.on('error', () => {})
  await client.connect().catch((error: unknown) => {
    throw new StartError(`--from: Redis at ${shown} can't be read: ${reason(error)}`, error)
  })
  return {
    async *pages() {
      const match = `${prefix.replace(/[*?[\]\\]/g, '\\$&')}*`
      for await (const keys of client.scanIterator({ MATCH: match, COUNT: pageSize })) {
        const found = await Promise.all(
          keys.map(async (key) => {
            const now = Date.now()
            // Other kinds of keys may begin like that too.
            const [json, ttl] = await Promise.all([client.get(key).catch(() => null), client.pTTL(key)])
            // -2: it is gone by now; -1: it never expires.
            if (json === null || ttl === -2) return null
            return { sid: key.slice(prefix.length), json, expiresAt: ttl < 0 ? null : now + ttl }
          }),
        )
        yield found.filter((one) => one !== null)
      }
    },
    async close() {
      client.destroy()
    },
  }
}

export async function connectPgSimpleSource({ url, shown }: Place, table: string): Promise<Source> {
  const pool = primaryPool(url, 1)
  const quoted = table.split('.').map((name) => `"${name.replaceAll('"', '""')}"`)
  // Its time zone is that of the connection, as where the store writes it.
  const page = `SELECT sid, sess::text AS json, extract(epoch FROM expire::timestamptz) * 1000 AS at FROM ${quoted.join('.')}
    WHERE sid > $1 AND expire > now()::timestamp ORDER BY sid LIMIT ${pageSize}`
  const query = async (after: string) =>
    (await pool.query<{ sid: string; json: string; at: string }>(page, [after])).rows
  await query('').catch(async (error: unknown) => {
    await pool.end()
    throw new StartError(`--from: table ${table} of PostgreSQL at ${shown} can't be read: ${reason(error)}`, error)
  })
  return {
    async *pages() {
      for (let after = ''; ;) {
        const rows = await query(after)
        if (rows.length === 0) return
        yield rows.map(({ sid, json, at }) => ({ sid, json, expiresAt: Math.round(Number(at)) }))
        after = rows.at(-1)!.sid
      }
    },
    close: () => pool.end(),
  }
}

function reason(error: unknown): string {
  const { code, message } = error as Error & { code?: string }
  return code === undefined || /^[\dA-Z]{5}$/.test(code) ? message : code
}
