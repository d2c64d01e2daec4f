// Sessions in Memcached, through memcache-client: fast, shared by any number of machines, and gone when it is restarted.
import { sha256 } from '#crypto'
import { ConfigError } from '../errors.ts'
import { skewMs } from '../internal/clock-skew.ts'
import { listed } from '../internal/listed.ts'
import { type Commands, exptime, find, gone, isDone } from '../internal/memcached-commands.ts'
import { memcachedIndex } from '../internal/memcached-index.ts'
import { pack, unpack } from '../internal/packed.ts'
import type { SessionRecord, Store, StoreOptions } from '../store.ts'

/** What `new MemcacheClient(…)` of memcache-client 1 gives. */
export interface MemcachedStoreClient extends Commands {
  readonly options: { readonly server: unknown }
}

/** Where in Memcached the sessions are, and by which clock they expire: the same for all processes that share them. */
export interface MemcachedStoreOptions {
  /** What every key begins with: up to 100 letters, digits and signs. Default `hf:`. */
  prefix?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/** Sessions that were read, for which what a `cas` needs is remembered: most changes follow a read. */
const rememberedAtMost = 1_000

/** What is stored under a key, as it was read. */
interface Stored {
  /** `null` when it has expired. */
  readonly record: SessionRecord | null
  /** What a `cas` needs to replace just that. */
  readonly casUniq: string | number
}

/**
 * Keeps sessions in one Memcached 1.6, in a network of your own: it asks nobody for a password. **All sessions are lost when it is restarted**, and
 * none comes back. The client is yours; the store never closes it. Give it `connectTimeout` and `cmdTimeout` (such as 1000 and 2000 ms; without the first a
 * connection to a machine that went away is waited for by minutes), `noDelay: true` and a `maxConnections` above 1.
 *
 * Start Memcached with **`-M`**, so that it refuses writes when it is full. Without, it evicts: a session, and somebody is signed out; or the list of a
 * user's sessions, and `listByUser`, and with it `endUser`, misses them until each is next written to the list, at most about two idle
 * windows later. `stats settings` says `evictions off` when it is right, and `stats` counts what was evicted.
 *
 * `get` is one `gets`, a `put` a `cas` after a read and else a `gets` and a `cas`, an ending a `gets` and a `delete`. A start, and about once per idle window a touch, is
 * preceded by a change of the list of the user's sessions, which is one item; so `listByUser` never misses a live one. Processes that
 * change one list at once try until they are through, or the call is aborted. Some ten thousand sessions of one user fit.
 *
 * A record larger than an item (`-I`, 1 MB) is refused with a `ConfigError`; what was stored stays. The machines' clocks may differ by a minute.
 * @throws ConfigError when the client has several servers, which would be copies that know nothing of each other, or for a bad `prefix`
 */
export function memcachedStore(client: MemcachedStoreClient, o: MemcachedStoreOptions = {}): Store {
  const clock = o.clock ?? Date
  const prefix = o.prefix ?? 'hf:'
  if (!/^[!-~]{0,100}$/.test(prefix)) {
    throw new ConfigError(
      `prefix must be up to 100 letters, digits and signs without spaces, not ${JSON.stringify(prefix)}`,
    )
  }
  const { servers } = client.options.server as { servers?: readonly unknown[] }
  if (servers !== undefined && servers.length > 1) {
    throw new ConfigError("the client has several servers, which do not know of each other's sessions: give it one")
  }
  const lists = memcachedIndex(client, `${prefix}u:`, clock)

  // Hashed, since a key has at most 250 bytes and no spaces.
  const recordKey = async (id: string) => `${prefix}s:${await sha256(id)}`

  /** The one that was read longest ago first. */
  const remembered = new Map<string, Stored>()

  async function lookUp(id: string, key: string, now: number): Promise<Stored | null> {
    const item = await find(client, key)
    return item === null ? null : { record: unpack(id, item.value as Uint8Array, now), casUniq: item.casUniq }
  }

  async function get(id: string): Promise<SessionRecord | null> {
    const stored = await lookUp(id, await recordKey(id), clock.now())
    if (stored === null || stored.record === null) return null
    remembered.delete(id)
    remembered.set(id, stored)
    if (remembered.size > rememberedAtMost) remembered.delete(remembered.keys().next().value!)
    return stored.record
  }

  /** As it was read last, when that is the version that is to be replaced: if it has changed since, the `cas` is refused. */
  function recall(id: string, version: number, now: number): Stored | null {
    const stored = remembered.get(id)
    remembered.delete(id)
    return stored?.record?.version === version && stored.record.expiresAt > now ? stored : null
  }

  /** Takes a free id, or one whose session has expired. */
  async function start(record: SessionRecord, key: string, now: number, o?: StoreOptions): Promise<boolean> {
    const lifetime = exptime(record.expiresAt + skewMs, now)
    const { bytes } = pack(record, 0)
    await lists.cover(record, null, o)
    for (;;) {
      if (await isDone(client.add(key, bytes, { lifetime }))) return true
      const stored = await lookUp(record.id, key, now)
      if (stored === null) continue
      return stored.record === null && isDone(client.cas(key, bytes, { lifetime, casUniq: stored.casUniq }))
    }
  }

  async function replace(
    record: SessionRecord,
    expected: number,
    key: string,
    now: number,
    o?: StoreOptions,
  ): Promise<boolean> {
    const stored = recall(record.id, expected, now) ?? (await lookUp(record.id, key, now))
    if (stored?.record?.version !== expected) return false
    const { casUniq } = stored
    if (record.expiresAt > now) {
      await lists.cover(record, stored.record, o)
      const { bytes } = pack(record, 0)
      return isDone(client.cas(key, bytes, { lifetime: exptime(record.expiresAt + skewMs, now), casUniq }))
    }
    const ended = await isDone(client.cas(key, '', { lifetime: gone, casUniq }))
    if (ended) await lists.uncover([stored.record], o)
    return ended
  }

  /** What was there and live, or `null`. */
  async function end(id: string, now: number): Promise<SessionRecord | 'unreadable' | null> {
    const key = await recordKey(id)
    const item = await find(client, key)
    if (item === null) return null
    let record: SessionRecord | 'unreadable' | null
    try {
      record = unpack(id, item.value as Uint8Array, now)
    } catch {
      // An ending is never refused: of a record that we can't read we know that it is gone now.
      record = 'unreadable'
    }
    return (await isDone(client.delete(key))) ? record : null
  }

  return {
    get,

    async put(record, expected, options) {
      const now = clock.now()
      const key = await recordKey(record.id)
      if (expected !== null) return replace(record, expected, key, now, options)
      return record.expiresAt > now ? start(record, key, now, options) : (await get(record.id)) === null
    },

    async delete(ids, options) {
      const now = clock.now()
      const ended = await Promise.all(ids.map((id) => end(id, now)))
      const records = ended.filter((record) => record !== null && record !== 'unreadable')
      await lists.uncover(records, options)
      return ids.filter((_, i) => ended[i] !== null)
    },

    async listByUser(userId) {
      return listed(userId, () => lists.read(userId, clock.now() - skewMs), get)
    },
  }
}
