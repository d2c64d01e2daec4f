// The feed in Redis or Valkey: one stream, in which every entry names the one before it.
import type { Cursor, Feed, Notice } from '../feed.ts'
import { deadline } from '../internal/deadline.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import {
  close,
  confirm,
  confirmedWrites,
  ownConnection,
  patienceMs,
  primaryOf,
  proofOf,
  refuseKeyPrefix,
  type RedisDurability,
  type RedisPrimaries,
  type Single,
} from '../internal/redis-confirmed.ts'
import { lookingAnew } from '../internal/redis-topology.ts'

export type { RedisDurability } from '../internal/redis-confirmed.ts'

/** What `createClient`, `createClientPool`, `createSentinel` and `createCluster` of node-redis 6 give. */
export interface RedisFeedClient extends RedisPrimaries {
  withCommandOptions(o: { timeout?: number }): object
}

/** Where in Redis the feed is, how far back it goes, and when a notice counts. */
export interface RedisFeedOptions {
  /** The key of the stream, the same in every process. Default `hf:feed`. */
  key?: string | undefined
  /** How long notices are kept for readers that are away; after that they find a gap. Default `'1h'`. */
  retention?: Duration | undefined
  /** Wait for replicas, which must confirm every notice and every read. Default: what the primary has counts as written. */
  durability?: RedisDurability | undefined
}

/** The commands that the feed uses. */
interface Commands {
  eval(script: string, o: { keys: string[]; arguments: string[] }): Promise<unknown>
  xRead(stream: { key: string; id: string }, o: { COUNT: number; BLOCK: number }): Promise<unknown>
  xLen(key: string): Promise<unknown>
}

const blockMs = 100
const batch = 1_000

/**
 * A feed in Redis 6.2 or later, or Valkey. The client is yours: connect it, give it an `error` listener, and no `keyPrefix`. Notices are published
 * over it; each follower has a connection of its own to the primary, made by `duplicate()` and closed when it ends. The server must not evict
 * (`maxmemory-policy noeviction`), and its user may run EVAL, INFO and XREAD.
 *
 * **What holds.** A step is complete as of its `asOf`, or says `gap`: when entries were trimmed, deleted or flushed, and whenever the server
 * restarted or another took its place, since replication is asynchronous and the end of the log may be lost. A replica is never read from.
 *
 * **What does not, without `durability`.** A notice that the primary had and no replica is lost in a failover: followers learn that
 * something may be missing, not what. And a primary that was cut off or stood still while a replica was promoted takes notices and answers reads
 * until it is told: for that time its followers think that they are up to date.
 *
 * **With `durability: { replicas }`**, a notice is published when so many replicas have it, and a read counts when so many confirm that they
 * still follow that server, so an old primary gives no steps. At least half of all replicas, and never fewer than one: else an old and a new
 * primary could both find enough. A publish that finds too few rejects (it may have been written: publish again), and so does following.
 * A notice is then lost only with all of these servers, or when a replica that is behind them is promoted; Sentinel prefers the one that is not.
 *
 * **Cost.** A notice is one EVAL (with durability one WAIT more for all that are under way) and some 100 bytes. A follower costs about 20
 * commands a second when idle, and two (with durability three) per step.
 *
 * Publishing has no deadline of its own: `createSessions` keeps one. A read without an answer within a second rejects.
 */
export function redisFeed(client: RedisFeedClient, o: RedisFeedOptions = {}): Feed {
  const key = o.key ?? 'hf:feed'
  const retentionMs = milliseconds('retention', o.retention ?? '1h')
  refuseKeyPrefix('redisFeed', client)
  const proof = o.durability === undefined ? null : proofOf('redisFeed', client, o.durability)
  const shared = client.withCommandOptions({ timeout: undefined } as object) as Commands
  const within = deadline(patienceMs)
  const looking = lookingAnew(client)
  // After a failover this is redirected, and the client learns of it.
  const learn = () => shared.xLen(key)
  const write =
    proof === null
      ? null
      : confirmedWrites({ client, proof, learn, commandsOf: (connection) => connection as Single & Commands })

  /**
   * Replies name the server's history, so the order of what happens is that of one server: the script is one step there, after `asOf`
   * was taken. What was written there before is after the cursor, and so in the answer, unless it is gone; then the first entry after the
   * cursor names another predecessor, or there is none and the cursor is not the end. What was written on another server was
   * written to another history. What is added after the script ended, the XREAD that follows only waits for: the next script brings it.
   */
  async function read(connection: Single & Commands, cursor: Cursor) {
    const [id = origin, history = ''] = cursor.split('@')
    const [now, gap, entries, last] = (await connection.eval(readScript, {
      keys: [key],
      arguments: [id, history, String(batch), proof === null ? '' : 'prove'],
    })) as [string, number, [string, string[]][], string]
    if (proof !== null) await confirm(connection, proof)
    return {
      notices: entries.map(([, fields]) => JSON.parse(fields[3]!) as Notice),
      id: last,
      cursor: `${last}@${now}`,
      gap: gap === 1,
      isAll: entries.length < batch,
    }
  }

  async function connect(): Promise<Single & Commands> {
    const source = await within(() => primaryOf(client, key, learn))
    return (await within(() => ownConnection(source))) as Single & Commands
  }

  return {
    async publish(notice, { signal } = {}) {
      const add = (to: Commands) =>
        to.eval(publishScript, { keys: [key], arguments: [JSON.stringify(notice), String(retentionMs)] })
      await looking(signal, () => (write === null ? add(shared) : write(key, add)))
    },

    async *follow({ since, signal, now }) {
      if (signal.aborted) return
      let cursor = since ?? origin
      let complete = -Infinity
      let connection: (Single & Commands) | null = null
      const end = () => connection !== null && close(connection)
      signal.addEventListener('abort', end)
      try {
        connection = await connect()
        while (!signal.aborted) {
          const asOf = now()
          const { notices, id, gap, isAll, ...step } = await within(() => read(connection!, cursor))
          cursor = step.cursor
          // What is not all is complete as of no instant but that of the last read that was.
          if (isAll) complete = asOf
          yield { notices, cursor, gap, asOf: complete }
          if (isAll && !signal.aborted) await within(() => connection!.xRead({ key, id }, { COUNT: 1, BLOCK: blockMs }))
        }
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        signal.removeEventListener('abort', end)
        end()
      }
    },
  }
}

/** The place before the first entry. */
const origin = '0-0'

/** The id of the last entry that the stream ever had: it stays when entries go, not when the stream does. */
const lastId = `
local function last()
  local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
  return '${origin}'
end`

/** KEYS: the stream. ARGV: the notice, how long to keep in ms. The age is that of the server's clock, which made the ids. */
const publishScript = `${lastId}
local since = string.format('%.0f', math.max(0, redis.call('TIME')[1] * 1000 - ARGV[2]))
return redis.call('XADD', KEYS[1], 'MINID', '~', since, '*', 'prev', last(), 'notice', ARGV[1])`

/**
 * KEYS: the stream. ARGV: the id to read after, the history that it is of (empty: any), how many at most, whether to write something
 * that replicas can confirm: the place of a group that nobody uses. Answers the history, whether there is a gap, the entries,
 * and where that leads to.
 */
const readScript = `${lastId}
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then return redis.error_reply('READONLY it is a replica now') end
local history = string.sub(string.match(info, 'master_replid:(%w+)'), 1, 16)
if ARGV[4] ~= '' and redis.pcall('XGROUP', 'SETID', KEYS[1], 'proof', '$').err then
  redis.call('XGROUP', 'CREATE', KEYS[1], 'proof', '$', 'MKSTREAM')
end
local function after(id) return redis.call('XRANGE', KEYS[1], '(' .. id, '+', 'COUNT', ARGV[3]) end
local entries, gap = after(ARGV[1]), 0
if ARGV[2] ~= '' and (history ~= ARGV[2] or (entries[1] and entries[1][2][2] or last()) ~= ARGV[1]) then
  entries, gap = after('${origin}'), 1
end
return { history, gap, entries, #entries > 0 and entries[#entries][1] or last() }`
