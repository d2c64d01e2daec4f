// Sessions in Redis or Valkey through node-redis 6: one server, Sentinel and Cluster by one path.
import { Bytes } from '#bytes'
import { skewMs } from '../internal/clock-skew.ts'
import { confirmedWrites, proofOf, type RedisDurability, type RedisPrimaries } from '../internal/redis-confirmed.ts'
import { coveredUntil, coverOf, spanFor } from '../internal/cover.ts'
import { listed } from '../internal/listed.ts'
import { headBytes, pack, unknownFormat, unpack } from '../internal/packed.ts'
import { entryOf, idIn, type Place, placeOf } from '../internal/redis-index.ts'
import {
  coverScript,
  provenEndScript,
  provenGetScript,
  provenListScript,
  putScript,
  type Script,
} from '../internal/redis-scripts.ts'
import { lookingAnew } from '../internal/redis-topology.ts'
import type { ReadOptions, ScannableStore, SessionRecord } from '../store.ts'

export type { RedisDurability } from '../internal/redis-confirmed.ts'
export { redisFindings, type RedisFinding } from '../internal/redis-findings.ts'

/** What `createClient`, `createClientPool`, `createSentinel` and `createCluster` of node-redis 6 give. */
export interface RedisStoreClient extends Node, RedisPrimaries {
  /** Of a Cluster only. */
  readonly masters?: readonly object[]
  nodeClient?(master: object): Promise<object>
}

interface Node {
  withCommandOptions(o: { timeout?: number; typeMapping?: object }): object
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

/** Where in Redis the sessions are, and when a write counts: the same for all processes that share them. */
export interface RedisStoreOptions {
  /** What the name of every key begins with. Each character costs a byte per session. Default `hf:`. */
  prefix?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
  /** Wait for replicas: every write resolves when so many have it, and rejects when they don't. Default: what the primary has counts as written. */
  durability?: RedisDurability | undefined
}

/**
 * Keeps sessions in Redis 6.2 or later, or Valkey. The client is yours: connect it, give it an `error` listener, `disableOfflineQueue: true`,
 * `pingInterval: 1000`, `socket: { connectTimeout: 1000, socketTimeout: 3000 }` (without them a server that is silent is waited for, for up to a quarter of an hour),
 * `socket.reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 500)` (by default it soon waits two seconds), in a Cluster
 * `topologyRefreshOnReconnectionAttemptStrategy: 200`, and under Sentinel `reserveClient: true` (calls that begin at once may otherwise wait for each other,
 * with a larger `masterPoolSize` for good); the store never closes it. Reads must go to masters (no `useReplicas`, no
 * replica pool), and the server must not evict (`maxmemory-policy noeviction`): both would show sessions wrongly.
 *
 * `get` is one GET, a `put` one EVALSHA of a compare-and-set, an ending one GETDEL and the removal of its index entry. A start, and about once
 * per idle window a touch, is preceded by one write to the index of users, so `listByUser` never misses a live session.
 * Records expire by themselves. The machines' clocks may differ by a minute.
 *
 * node-redis 6 puts a timer on every command by default, which costs 3 to 14 µs each. The store's own commands go without it, whatever the client
 * says: `createSessions` keeps a deadline for every call. For your own commands: `createClient({ commandOptions: { timeout: undefined } })`.
 *
 * **With `durability: { replicas }`** a write resolves when so many replicas have it, over connections of the store's own to the primaries: opened by
 * the first write, closed with the client (that of a pool with the process). When fewer confirm in time it rejects, and its outcome is unknown: the primary may show it. What was
 * acknowledged is lost only with all of these servers, or when a replica without it is promoted, so the safest `replicas` is all of them. A
 * start waits twice, a list once; other reads are not confirmed. The client has no `keyPrefix`, and its user may run WAIT. More in docs/decisions/028.
 *
 * A call rejects when Redis does, and with a `ConfigError` when it meets a record that a newer Holdfast wrote; an ending only when Redis does.
 */
export function redisStore(client: RedisStoreClient, o: RedisStoreOptions = {}): ScannableStore {
  const clock = o.clock ?? Date
  const prefix = o.prefix ?? 'hf:'
  const recordKeys = `${prefix}s:`
  const bucketKeys = `${prefix}u:`
  const redis = storing(client)
  const looking = lookingAnew(client)
  const confirmed =
    o.durability === undefined
      ? null
      : confirmedWrites({
          client,
          proof: proofOf('redisStore', client, o.durability),
          learn: (key) => redis.get(key),
          commandsOf: storing,
        })

  /** A write that must hold: a touch too, which can't be told from a change here and shares what the others wait for. */
  const write = <T>(key: string, call: (to: Commands) => Promise<T>): Promise<T> =>
    confirmed === null ? call(redis) : confirmed(key, call)

  async function get(id: string, { settles = false }: ReadOptions = {}): Promise<SessionRecord | null> {
    const key = recordKeys + id
    // What the primary alone has settles nothing.
    const bytes =
      settles && confirmed !== null ? await confirmed(key, (to) => run(to, provenGetScript, key)) : await redis.get(key)
    return bytes === null ? null : unpack(id, bytes as Uint8Array, clock.now())
  }

  async function cover(record: SessionRecord, userId: string): Promise<void> {
    const place = await placeOf(userId)
    const until = Math.ceil(coverOf(record) / 1000)
    const entry = entryOf(place, record.id)
    const bucket = bucketKeys + place.bucket
    await write(bucket, (to) => run(to, coverScript, bucket, [entry, String(until), String(skewMs / 1000)]))
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
    const set = (cover: number) =>
      compareAndSet(id, [
        String(expected ?? 0),
        String(now),
        bytes,
        String(expiresAt + skewMs),
        String(cover),
        String(headBytes + userBytes),
      ])

    if (userId === null) return (await set(0)) === written
    if (expected !== null) {
      const answer = await set(coveredUntil(expiresAt, span))
      if (answer !== uncovered) return answer === written
    }
    await cover(record, userId)
    return (await set(0)) === written
  }

  async function endIf({ id, userId }: SessionRecord, expected: number | null, now: number): Promise<boolean> {
    const answer = await compareAndSet(id, [String(expected ?? 0), String(now), '', '', '0', String(headBytes)])
    if (answer === written) await uncover(id, userId)
    return answer === written
  }

  async function compareAndSet(id: string, args: (string | Uint8Array)[]): Promise<number> {
    const key = recordKeys + id
    const answer = (await write(key, (to) => run(to, putScript, key, args))) as number
    if (answer < 0) throw unknownFormat(-answer)
    return answer
  }

  async function end(id: string): Promise<boolean> {
    const key = recordKeys + id
    // Also of what is gone already: the first try may have ended it on the primary alone.
    const ending = confirmed === null ? redis.getDel(key) : confirmed(key, (to) => run(to, provenEndScript, key))
    const bytes = (await ending) as Uint8Array | null
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
    const bucket = bucketKeys + place.bucket
    // Who ends all that is listed must not be told by a primary that was replaced that there is nothing.
    const listing =
      confirmed === null
        ? redis.zRange(bucket, since, '+inf', { BY: 'SCORE' })
        : confirmed(bucket, (to) => run(to, provenListScript, bucket, [since]))
    const entries = (await listing) as Uint8Array[]
    return entries.map((entry) => idIn(entry, place)).filter((id) => id !== null)
  }

  return {
    get: (id, o) => looking(o?.signal, () => get(id, o)),

    put: (record, expected, o) =>
      looking(o?.signal, async () => {
        const now = clock.now()
        return record.expiresAt > now ? putLive(record, expected, now) : endIf(record, expected, now)
      }),

    delete: (ids, o) =>
      looking(o?.signal, async () => {
        const ended = await Promise.all(ids.map(end))
        return ids.filter((_, i) => ended[i])
      }),

    listByUser: (userId, o) =>
      looking(o?.signal, async () => {
        const place = await placeOf(userId)
        return listed(userId, () => indexed(place), get)
      }),

    async scan({ cursor, limit }) {
      const [node, at] = (cursor ?? '0 0').split(' ').map(Number) as [number, number]
      const nodes = client.masters ?? [null]
      const master = nodes[node]
      if (master === undefined) return { records: [], cursor: null }
      const server = master === null || client.nodeClient === undefined ? client : await client.nodeClient(master)
      const found = (await withoutTimer(server as Node, {}).scan(String(at), {
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

function storing(client: Node): Commands {
  return withoutTimer(client, { [blobString]: Bytes })
}

function withoutTimer(client: Node, typeMapping: object): Commands {
  // node-redis merges the client's defaults under these, so only a stated `undefined` takes the timer away.
  return client.withCommandOptions({ timeout: undefined, typeMapping } as { typeMapping: object }) as Commands
}

async function run(
  redis: Commands,
  { sha1, text }: Script,
  key: string,
  args: (string | Uint8Array)[] = [],
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
