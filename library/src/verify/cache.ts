// Verifications that were made before, bounded in entries and bytes, found by credential and forgotten by session.
import type { KnownSession } from '../credentials/credentials.ts'
import type { Cached } from './verify.ts'

export interface CacheLimits {
  readonly maxEntries: number
  readonly maxBytes: number
}

export interface Cache {
  get(key: string): Cached | null
  set(key: string, verified: Cached): void
  /** Everything of one session. */
  forget(id: string): void
  renew(id: string, record: KnownSession): void
  clear(): void
  readonly size: number
  readonly bytes: number
}

interface Entry {
  readonly key: string
  verified: Cached
  readonly bytes: number
  /** Was asked for since the hand last came by. */
  used: boolean
  /** Another credential of the same session. */
  sibling: Entry | null
}

/** What an entry takes beside its texts: both maps' slots, three objects and the key; measured on Node 24. */
const entryBytes = 650

/** A client that refreshes more often than tokens expire has several, and none needs more. */
const perSession = 16

/** Evicts by second chance: one flag is set on a hit, nothing is moved. */
export function cache({ maxEntries, maxBytes }: CacheLimits): Cache {
  const byKey = new Map<string, Entry>()
  /** The latest entry of a session, the others behind it. */
  const byId = new Map<string, Entry>()
  let bytes = 0

  function remove(entry: Entry): void {
    byKey.delete(entry.key)
    bytes -= entry.bytes
  }

  function evict(): void {
    for (const entry of byKey.values()) {
      if (byKey.size <= maxEntries && bytes <= maxBytes) return
      if (entry.used) {
        entry.used = false
        byKey.delete(entry.key)
        byKey.set(entry.key, entry)
      } else {
        remove(entry)
        unlink(entry)
      }
    }
  }

  /** Out of its session's chain, which is one long nearly always. */
  function unlink(entry: Entry): void {
    const { id } = entry.verified.known
    const rest = chain(id).filter((other) => other !== entry)
    byId.delete(id)
    for (const other of rest.toReversed()) link(other)
  }

  function link(entry: Entry): void {
    const { id } = entry.verified.known
    entry.sibling = byId.get(id) ?? null
    byId.set(id, entry)
  }

  function chain(id: string): Entry[] {
    const found: Entry[] = []
    for (let entry = byId.get(id) ?? null; entry !== null; entry = entry.sibling) found.push(entry)
    return found
  }

  return {
    get(key) {
      const entry = byKey.get(key)
      if (entry === undefined) return null
      entry.used = true
      return entry.verified
    },
    set(key, verified) {
      const before = byKey.get(key)
      if (before !== undefined) {
        remove(before)
        unlink(before)
      }
      const { identity, userId, data } = verified.known
      const entry: Entry = {
        key,
        verified,
        bytes: entryBytes + identity.length + (userId?.length ?? 0) + (data?.length ?? 0),
        used: false,
        sibling: null,
      }
      byKey.set(key, entry)
      link(entry)
      bytes += entry.bytes
      const all = chain(verified.known.id)
      if (all.length > perSession) {
        remove(all.at(-1)!)
        unlink(all.at(-1)!)
      }
      evict()
    },
    forget(id) {
      for (const entry of chain(id)) remove(entry)
      byId.delete(id)
    },
    renew(id, record) {
      for (const entry of chain(id)) {
        // What a proof says holds until it expires: it is not the store's state.
        if (!entry.verified.proof && entry.verified.known.version <= record.version) {
          entry.verified = { ...entry.verified, known: { ...record, data: null, shared: { who: null } } }
        }
      }
    },
    clear() {
      byKey.clear()
      byId.clear()
      bytes = 0
    },
    get size() {
      return byKey.size
    },
    get bytes() {
      return bytes
    },
  }
}
