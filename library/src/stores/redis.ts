// Sessions in Redis or Valkey through node-redis 6: one server, Sentinel and Cluster by one path.
import { Bytes } from '#bytes'
import { headBytes, pack, unknownFormat, unpack } from '../internal/packed.ts'
import { coveredUntil, entryOf, idIn, type Place, placeOf, spanFor } from '../internal/redis-index.ts'
import { coverScript, putScript, type Script } from '../internal/redis-scripts.ts'
import type { ScannableStore, SessionRecord } from '../store.ts'

/** What `createClient`, `createClientPool`, `createSentinel` and `createCluster` of node-redis 6 give. */
export interface RedisStoreClient extends Node {
  /** Of a Cluster only. */
  readonly masters?: readonly object[]
  nodeClient?(master: object): Promise<Node>
}

interface Node {
  withCommandOptions(o: { timeout?: number; typeMapping?: object }): Commands
}

/** The commands that the store uses. Loosely typed where node-redis wants a `Buffer`, a type that only Node has. */
interface Commands {
  get(key: string): Promise<unknown>
  getDel(key: string): Promise<unknown>
  evalSha(sha1: string, o: object): Promise<unknown>
  eval(script: string, o: object): Promise<unknown>
  zRange(key: string, min: string, max: string, o: { BY?: 'SCORE' }): Promise<unknown>
  zRem(key: string, member: unknown): Promise<unknown>
  scan(cursor: string, o: { MATCH?: string; COUNT?: number }): Promise<unknown>
}

export interface RedisStoreOptions {
  /** What the name of every key begins with. Each character costs a byte per session. Default `hf:`. */
  prefix?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/** How far apart the clocks of two machines may be. Redis keeps what has expired for this much longer. */
const skewMs = 60_000

/**
 * Keeps sessions in Redis 6.2 or later, or Valkey. The client is yours: connect it, give it an `error` listener, `disableOfflineQueue: true`,
 * and in a Cluster `topologyRefreshOnReconnectionAttemptStrategy: 200`; the store never closes it. Reads must go to masters (no `useReplicas`, no
 * replica pool), and the server must not evict (`maxmemory-policy noeviction`): both would show sessions wrongly.
 *
 * `get` is one GET, a `put` one EVALSHA of a compare-and-set, an ending one GETDEL and the removal of its index entry. A start, and about once
 * per idle window a touch, is preceded by one write to the index of users, so `listByUser` never misses a live session.
 * Records expire by themselves. The machines' clocks may differ by a minute.
 *
 * node-redis 6 puts a timer on every command by default, which costs 11 to 14 µs each. The store's own commands go without it, whatever the client
 * says: `createSessions` keeps a deadline for every call. For your own commands: `createClient({ commandOptions: { timeout: undefined } })`.
 *
 * A call rejects when Redis does, and with a `ConfigError` when it meets a record that a newer Holdfast wrote; an ending only when Redis does.
 */
export function redisStore(client: RedisStoreClient, o: RedisStoreOptions = {}): ScannableStore {
  const clock = o.clock ?? Date
  const prefix = o.prefix ?? 'hf:'
  const recordKeys = `${prefix}s:`
  const bucketKeys = `${prefix}u:`
  const redis = withoutTimer(client, { [blobString]: Bytes })

  async function get(id: string): Promise<SessionRecord | null> {
    const bytes = await redis.get(recordKeys + id)
    return bytes === null ? null : unpack(id, bytes as Uint8Array, clock.now())
  }

  async function cover(record: SessionRecord, userId: string): Promise<void> {
    const place = await placeOf(userId)
    const until = Math.ceil(coveredUntil(record.expiresAt, spanFor(record)) / 1000)
    const entry = entryOf(place, record.id)
    await run(redis, coverScript, bucketKeys + place.bucket, [entry, String(until), String(skewMs / 1000)])
  }

  /** Best effort: an entry without a record is harmless and goes with its time. Ids are not reused, so this can't hit a new session. */
  async function uncover(id: string, userId: string | null): Promise<void> {
    if (userId === null) return
    const place = await placeOf(userId)
    await redis.zRem(bucketKeys + place.bucket, entryOf(place, id)).catch(() => {})
  }

  async function putLive(record: SessionRecord, expected: number | null, now: number): Promise<boolean> {
    const { id, userId, expiresAt } = record
    const span = spanFor(record)
    const { bytes, userBytes } = pack(record, span)
    const write = (cover: number) =>
      compareAndSet(id, [
        String(expected ?? 0),
        String(now),
        bytes,
        String(expiresAt + skewMs),
        String(cover),
        String(headBytes + userBytes),
      ])

    if (userId === null) return (await write(0)) === written
    if (expected !== null) {
      const answer = await write(coveredUntil(expiresAt, span))
      if (answer !== uncovered) return answer === written
    }
    await cover(record, userId)
    return (await write(0)) === written
  }

  async function endIf({ id, userId }: SessionRecord, expected: number | null, now: number): Promise<boolean> {
    const answer = await compareAndSet(id, [String(expected ?? 0), String(now), '', '', '0', String(headBytes)])
    if (answer === written) await uncover(id, userId)
    return answer === written
  }

  async function compareAndSet(id: string, args: (string | Uint8Array)[]): Promise<number> {
    const answer = (await run(redis, putScript, recordKeys + id, args)) as number
    if (answer < 0) throw unknownFormat(-answer)
    return answer
  }

  async function end(id: string): Promise<boolean> {
    const bytes = (await redis.getDel(recordKeys + id)) as Uint8Array | null
    if (bytes === null) return false
    let record: SessionRecord | null
    try {
      record = unpack(id, bytes, clock.now())
    } catch {
      // An ending is never refused: of a record that we can't read we know that it is gone now.
      return true
    }
    if (record === null) return false
    await uncover(id, record.userId)
    return true
  }

  /** The ids of which the index says that they may be live. */
  async function indexed(place: Place): Promise<string[]> {
    const since = String(Math.floor((clock.now() - skewMs) / 1000))
    const entries = (await redis.zRange(bucketKeys + place.bucket, since, '+inf', { BY: 'SCORE' })) as Uint8Array[]
    return entries.map((entry) => idIn(entry, place)).filter((id) => id !== null)
  }

  return {
    get,

    async put(record, expected) {
      const now = clock.now()
      return record.expiresAt > now ? putLive(record, expected, now) : endIf(record, expected, now)
    },

    async delete(ids) {
      const ended = await Promise.all(ids.map(end))
      return ids.filter((_, i) => ended[i])
    },

    async listByUser(userId) {
      const place = await placeOf(userId)
      const live = new Map<string, SessionRecord>()
      const absences = new Map<string, number>()
      let missing: boolean
      do {
        const ids = (await indexed(place)).filter((id) => !live.has(id) && (absences.get(id) ?? 0) < 2)
        const records = await Promise.all(ids.map(get))
        for (const [i, id] of ids.entries()) {
          const record = records[i]!
          if (record === null) absences.set(id, (absences.get(id) ?? 0) + 1)
          else live.set(id, record)
        }
        // It may just have been replaced, by a session that was indexed after we looked, or, since it is indexed first, not yet
        // written when we did: so what is absent is asked for twice, and the index once more.
        missing = records.includes(null)
      } while (missing)
      return [...live.values()].filter((record) => record.userId === userId).sort((a, b) => b.createdAt - a.createdAt)
    },

    async scan({ cursor, limit }) {
      const [node, at] = (cursor ?? '0 0').split(' ').map(Number) as [number, number]
      const nodes = client.masters ?? [null]
      const master = nodes[node]
      if (master === undefined) return { records: [], cursor: null }
      const server = master === null || client.nodeClient === undefined ? client : await client.nodeClient(master)
      const found = (await withoutTimer(server, {}).scan(String(at), {
        MATCH: `${recordKeys.replace(/[*?[\]\\^]/g, '\\$&')}*`,
        COUNT: limit,
      })) as { cursor: string; keys: string[] }
      const records = await Promise.all(found.keys.map((key) => get(key.slice(recordKeys.length))))
      const next = found.cursor !== '0' ? `${node} ${found.cursor}` : node + 1 < nodes.length ? `${node + 1} 0` : null
      return { records: records.filter((record) => record !== null), cursor: next }
    },
  }
}

/** What the put script answers. */
const written = 1
const uncovered = 2

/** RESP's `$`, the type of a value. */
const blobString = 36

function withoutTimer(client: Node, typeMapping: object): Commands {
  // node-redis merges the client's defaults under these, so only a stated `undefined` takes the timer away.
  return client.withCommandOptions({ timeout: undefined, typeMapping } as { typeMapping: object })
}

async function run(
  redis: Commands,
  { sha1, text }: Script,
  key: string,
  args: (string | Uint8Array)[],
): Promise<unknown> {
  const call = { keys: [key], arguments: args }
  try {
    return await redis.evalSha(await sha1, call)
  } catch (error) {
    // A server that never saw the script, such as a new master or one that was restarted, learns it by EVAL.
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return redis.eval(text, call)
  }
}
