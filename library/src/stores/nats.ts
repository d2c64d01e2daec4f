// Sessions in NATS JetStream: a replicated store that survives the loss of a server.
import { readUtf8, room, utf8Length, writeBase64url, writeUtf8 } from '#bytes'
import { base64url } from '#crypto'
import { skewMs } from '../internal/clock-skew.ts'
import { listed } from '../internal/listed.ts'
import { listOverAt, listPrefix, natsIndex } from '../internal/nats-index.ts'
import {
  natsLog,
  type NatsConnection,
  type NatsJetStream,
  type NatsMessage,
  natsStream,
  type NatsStream,
} from '../internal/nats-log.ts'
import { natsQuorum } from '../internal/nats-quorum.ts'
import { natsSweep } from '../internal/nats-sweep.ts'
import { pack, unpack } from '../internal/packed.ts'
import { waitByChance } from '../internal/timers.ts'
import type { ScannableStore, SessionRecord, StoreOptions, SweepableStore } from '../store.ts'

/** The stream, which `natsStoreStream` must have been given too, and by which clock the sessions in it expire. */
export interface NatsStoreOptions {
  /** The name of the stream, and what its subjects begin with. Default `holdfast`. */
  stream?: string | undefined
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/** What `streams.add` makes the stream of a store with. `replicas` is 1 unless given: 3 survive the loss of a server. */
export function natsStoreStream(o: { stream?: string | undefined; replicas?: number | undefined } = {}): NatsStream {
  return natsStream({ stream: o.stream ?? 'holdfast', replicas: o.replicas, maxAgeMs: 0, perSubject: -1 })
}

/** An ending stays for so long: a server that is killed within seconds may find again what was replaced, and must find the ending after it. */
const settledAfterMs = 300_000
/** So many sessions are remembered by place, so that writing them needs no look first. */
const knownAtMost = 1_000
const beatSubject = subjectOf('')

/**
 * Keeps sessions in a stream of NATS JetStream, nats-server 2.9 or later, made with `manager.streams.add(natsStoreStream({ replicas: 3 }))`. The
 * clients are yours, and the store closes neither: `connection` of @nats-io/transport-node 3, with `maxReconnectAttempts: -1`, a
 * `reconnectTimeWait` (such as 100), `timeout: 1000, pingInterval: 1000` (a server that does not answer three pings is left for another) and
 * `noAsyncTraces: true`; and `await jetstreamManager(connection, { timeout: 1000 })`, whose `timeout` is how long anything is waited for.
 *
 * **What holds** with three replicas: what is acknowledged two of three servers have, so the loss of one takes nothing, and an ended session
 * does not come back, neither after `kill -9` nor from a server that comes back. While the servers choose a new leader, some
 * seconds, calls reject. The servers write to disk without waiting for it (nats-server syncs every two minutes unless told otherwise): if power
 * fails in all of them at once, or in one that is alone, the latest is lost, endings too. Tested on nats-server 2.9.10.
 *
 * **What may be stale.** Reads are answered by the stream's leader, never by another replica. A leader that is cut off from the others goes on
 * answering reads until it notices, 10 to 20 seconds later; clients that still reach it may see an ended session for so long. It can't write: no
 * `put`, and no ending, is acknowledged there; nor is it believed that a session is not there or has expired, or which ones a user has: calls
 * reject, and nobody is signed out. A leader that stood still while another was chosen may answer what had waited for it.
 *
 * **What calls cost.** A `get` is one request, as is a `put` of a session that this process read or wrote last, else there is a read before it. A `get` of
 * what is not there, or has expired, is three, of which one writes and is shared by all who wait for it. A start is three (the user's list is read and
 * written first, so `listByUser` never misses a live session), and so is about one touch per idle window. An ending is four: the record and the list
 * are read and written. Nobody waits for what each write replaced to be taken away, one more request. A list of a user is one message, some 40 bytes
 * per session, read after a write as above; an ending leaves one of some 100 bytes, for five minutes at least.
 *
 * The first `sweep` of a process looks at the whole stream, at a quarter of the speed of one connection (some minutes for a million sessions); later ones at what
 * was written since, and at what is due. What has expired goes by the clock of the servers there, when that is behind; it removes endings too, and does not
 * count them.
 *
 * A write whose answer doesn't come may be carried out, at the latest when the server that has it comes to it; nothing is kept in the client while there
 * is no connection: calls reject at once. A record larger than a message may be (`max_payload`, 1 MB) rejects. A stream that
 * is not there, or would drop what is live, is refused with a `ConfigError`, as is a record that a newer Holdfast wrote.
 */
export function natsStore(
  connection: NatsConnection,
  manager: NatsJetStream,
  o: NatsStoreOptions = {},
): SweepableStore & ScannableStore {
  const clock = o.clock ?? Date
  const wanted = natsStoreStream({ stream: o.stream })
  const log = natsLog(connection, manager, wanted.name)
  const lists = natsIndex(log)
  const quorum = natsQuorum(log, beatSubject, tombstone)
  const known = new Map<string, Known>()
  let suits: Promise<void> | null = null
  const swept = natsSweep(log, overAt, (message) => !isList(message) && !isTombstone(message))

  async function ready(): Promise<void> {
    suits ??= log.assertSuits(wanted, 'make it with streams.add(natsStoreStream())')
    try {
      await suits
    } catch (error) {
      suits = null
      throw error
    }
  }

  function remember(record: SessionRecord, seq: number): void {
    const { id, version, userId, seenAt, expiresAt } = record
    known.delete(id)
    known.set(id, { seq, version, userId, seenAt, expiresAt })
    if (known.size > knownAtMost) known.delete(known.keys().next().value!)
  }

  /**
   * The last message of a session, and what `read` makes of it. That a session was ended is so for good; that there is none, or that it has expired, a
   * leader that was cut off may say of one that others started or extended, so it is believed only when it is still said after a quorum was heard.
   */
  async function found<T>(id: string, read: (message: NatsMessage) => T | null) {
    for (let isSure = false; ; isSure = true) {
      const message = await log.last(subjectOf(id))
      const record = message === null ? null : read(message)
      if (record !== null || isSure || (message !== null && isTombstone(message))) return { message, record }
      await quorum()
    }
  }

  async function look(id: string, now: number): Promise<{ seq: number; record: SessionRecord | null } | null> {
    const { message, record } = await found(id, ({ bytes }) => unpack(id, bytes, now))
    if (message === null) return null
    if (record !== null) remember(record, message.seq)
    return { seq: message.seq, record }
  }

  async function get(id: string): Promise<SessionRecord | null> {
    await ready()
    return (await look(id, clock.now()))?.record ?? null
  }

  /** Takes a free id, or one whose session has expired. */
  async function start(record: SessionRecord, now: number, o?: StoreOptions): Promise<boolean> {
    const { bytes } = pack(record, 0)
    await lists.cover(record, null, o)
    for (let attempt = 0, after = 0; ; attempt++) {
      const seq = await log.write(subjectOf(record.id), bytes, after, o?.signal)
      if (seq !== null) {
        remember(record, seq)
        return true
      }
      await waitByChance(attempt)
      const stored = await look(record.id, now)
      if (stored !== null && stored.record !== null) return false
      after = stored?.seq ?? 0
    }
  }

  async function replace(record: SessionRecord, expected: number, now: number, o?: StoreOptions): Promise<boolean> {
    const { id } = record
    const ends = record.expiresAt <= now
    for (let attempt = 0; ; attempt++) {
      if (known.get(id)?.version !== expected) await look(id, now)
      const stored = known.get(id)
      if (stored?.version !== expected || stored.expiresAt <= now) return false
      if (ends ? await bury(id, stored.seq, o) : await rewrite(record, stored, o)) {
        // Another user's list goes on naming it: it may be theirs again before we come to remove it there.
        if (ends) await lists.uncover([{ id, userId: stored.userId }], o)
        return true
      }
      known.delete(id)
      await waitByChance(attempt)
    }
  }

  async function rewrite(record: SessionRecord, stored: Known, o?: StoreOptions): Promise<boolean> {
    await lists.cover(record, stored, o)
    const seq = await log.write(subjectOf(record.id), pack(record, 0).bytes, stored.seq, o?.signal)
    if (seq !== null) remember(record, seq)
    return seq !== null
  }

  /** An ending is a write like any other, so a change that races it finds another place. What it leaves is for `sweep`, later. */
  async function bury(id: string, seq: number, o?: StoreOptions): Promise<boolean> {
    known.delete(id)
    return (await log.write(subjectOf(id), tombstone, seq, o?.signal)) !== null
  }

  /** By the clock of the servers: a machine that is ahead must not remove what is live. The beat that it needs is a tombstone as others are. */
  async function serverNow(): Promise<number> {
    await log.add(beatSubject, tombstone)
    return (await log.last(beatSubject))?.at ?? 0
  }

  /** Whose it was; `null` when there was none, or when it had expired. */
  async function end(id: string, now: number, o?: StoreOptions): Promise<Listed | null> {
    for (let attempt = 0; ; attempt++) {
      const { message, record } = await found(id, (last) => live(last, now))
      if (message === null || record === null) return null
      // An ending is never refused: of a record that we can't read we know that it is gone now.
      if (await bury(id, message.seq, o)) return { id, userId: record === 'unreadable' ? null : record.userId }
      await waitByChance(attempt)
    }
  }

  return {
    get,

    async put(record, expected, options) {
      await ready()
      const now = clock.now()
      if (expected !== null) return replace(record, expected, now, options)
      if (record.expiresAt > now) return start(record, now, options)
      return ((await look(record.id, now))?.record ?? null) === null
    },

    async delete(ids, options) {
      await ready()
      const now = clock.now()
      const ended = await Promise.all(ids.map((id) => end(id, now, options)))
      await lists.uncover(
        ended.filter((session) => session !== null),
        options,
      )
      return ids.filter((_, i) => ended[i] !== null)
    },

    async listByUser(userId) {
      await ready()
      // Who ends all that is listed must not be told by a leader that was cut off that there is less.
      await quorum()
      return listed(userId, () => lists.read(userId, clock.now() - skewMs), get)
    },

    async sweep(limit) {
      await ready()
      const now = o.clock?.now() ?? Math.min(Date.now(), await serverNow())
      return swept(limit, now)
    },

    async scan({ cursor, limit }) {
      await ready()
      const now = clock.now()
      const page = await log.messages(Number(cursor ?? 0) + 1, limit)
      const found = await Promise.all(
        page.map(async ({ subject, seq, bytes }) => {
          const record = subject.startsWith(listPrefix) ? null : unpack(idIn(subject), bytes, now)
          // What was replaced may not be gone yet, and what replaced it comes later.
          return record !== null && (await log.last(subject))?.seq === seq ? record : null
        }),
      )
      const records = found.filter((record) => record !== null)
      return { records, cursor: page.length < limit ? null : String(page.at(-1)!.seq) }
    },
  }
}

interface Listed {
  readonly id: string
  readonly userId: string | null
}

/** A session whose message at `seq` was read or written last. */
interface Known {
  readonly seq: number
  readonly version: number
  readonly userId: string | null
  readonly seenAt: number
  readonly expiresAt: number
}

/** What takes the place of a session that is ended: a record that has always been over. */
const tombstone = pack(
  {
    id: '',
    userId: null,
    credential: '',
    identity: '',
    data: '',
    createdAt: 0,
    seenAt: 0,
    expiresAt: 0,
    epoch: 0,
    version: 1,
  },
  0,
).bytes

function isTombstone({ bytes }: NatsMessage): boolean {
  return bytes.length === tombstone.length && bytes.every((byte, i) => byte === tombstone[i])
}

function isList({ subject }: NatsMessage): boolean {
  return subject.startsWith(listPrefix)
}

/** From when on nobody needs a message any more. What ended a session stays for a while. */
function overAt(message: NatsMessage): number {
  if (isList(message)) return listOverAt(message)
  if (isTombstone(message)) return message.at + settledAfterMs
  const record = live(message, 0)
  return record === null ? 0 : record === 'unreadable' ? Infinity : record.expiresAt
}

/** The live record in a message; `null` when it is over, `'unreadable'` when we can't tell. */
function live(message: NatsMessage, now: number): SessionRecord | 'unreadable' | null {
  try {
    return unpack(idIn(message.subject), message.bytes, now)
  } catch {
    return 'unreadable'
  }
}

/** Ids that have other characters than a subject may have are written in base64url, which `=` says. */
function subjectOf(id: string): string {
  if (/^[\w-]+$/.test(id)) return `s.${id}`
  const bytes = new Uint8Array(utf8Length(id))
  writeUtf8(bytes, id, 0)
  return `s.=${base64url(bytes)}`
}

function idIn(subject: string): string {
  const token = subject.slice('s.'.length)
  if (!token.startsWith('=')) return token
  const bytes = room(Math.floor(((token.length - 1) * 3) / 4))
  writeBase64url(bytes, token.slice(1), 0, bytes.length)
  return readUtf8(bytes, 0, bytes.length)
}
