// A stream of NATS JetStream in which the last message of a subject is what counts: what the store and the feed do with it.
import { ConfigError } from '../errors.ts'

/** What `connect` of @nats-io/transport-node (or nats-core) 3 gives. */
export interface NatsConnection {
  /** Of the server; not there while there is no connection. */
  readonly info?: object | undefined
  subscribe(subject: string, o: { callback: () => void }): { unsubscribe(): void }
}

/** What `await jetstreamManager(connection, { timeout })` of @nats-io/jetstream 3 gives. */
export interface NatsJetStream {
  readonly streams: {
    info(stream: string): Promise<{ readonly config: object }>
    getMessage(stream: string, query: { seq: number } | { last_by_subj: string }): Promise<StoredMessage | null>
    deleteMessage(stream: string, seq: number, erase: boolean): Promise<boolean>
  }
  jetstream(): {
    publish(
      subject: string,
      data: Uint8Array,
      o: { msgID?: string; expect?: { lastSubjectSequence: number } },
    ): Promise<{ seq: number; duplicate: boolean }>
  }
}

interface StoredMessage {
  readonly subject: string
  readonly seq: number
  readonly data: Uint8Array
  readonly time: Date
}

export interface NatsMessage {
  readonly subject: string
  /** Its place in the log. */
  readonly seq: number
  readonly bytes: Uint8Array
  /** When it was written, by the clock of the server that led then; ms since the epoch. */
  readonly at: number
}

/** What `streams.add` takes: `file` and `new` are the only storage and policy that are meant. */
export interface NatsStream {
  readonly name: string
  readonly subjects: string[]
  readonly storage: 'file'
  readonly num_replicas: number
  readonly max_msgs_per_subject: number
  /** Nanoseconds, 0: for ever. */
  readonly max_age: number
  /** Nanoseconds. */
  readonly duplicate_window: number
  readonly discard: 'new'
  readonly allow_direct: boolean
}

/**
 * `perSubject` is 1, or -1 for what no server may lose by itself: a server of 2.9 that was killed miscounts what was replaced just before, and
 * when it starts removes the last message of the subject with the rest.
 */
export function natsStream(o: {
  stream: string
  replicas?: number | undefined
  maxAgeMs: number
  perSubject: 1 | -1
}): NatsStream {
  const { stream, replicas = 1 } = o
  if (!/^[\w-]{1,100}$/.test(stream))
    throw new ConfigError(`stream: expected letters, digits, - and _, got '${stream}'`)
  if (!Number.isSafeInteger(replicas) || replicas < 1 || replicas > 5) {
    throw new ConfigError(`replicas: expected a whole number from 1 to 5, got ${replicas}`)
  }
  return {
    name: stream,
    subjects: [`${stream}.>`],
    storage: 'file',
    num_replicas: replicas,
    max_msgs_per_subject: o.perSubject,
    max_age: o.maxAgeMs * 1e6,
    duplicate_window: Math.min(120_000, o.maxAgeMs || Infinity) * 1e6,
    // What is full refuses; it never drops what is live.
    discard: 'new',
    // Answers of a replica that is behind: an ended session would look alive.
    allow_direct: false,
  }
}

export type NatsLog = ReturnType<typeof natsLog>

/** `subject` is without the name of the stream. */
export function natsLog(connection: NatsConnection, manager: NatsJetStream, stream: string) {
  const publisher = manager.jetstream()

  /** While there is no connection the client would keep what is written, and send it when nobody waits for it any more. */
  function assertConnected(): void {
    if (connection.info === undefined) throw new Error('nats: not connected')
  }

  async function publish(subject: string, bytes: Uint8Array, o: Parameters<typeof publisher.publish>[2]) {
    assertConnected()
    return publisher.publish(`${stream}.${subject}`, bytes, o)
  }

  async function message(query: { seq: number; next_by_subj: string } | { last_by_subj: string }) {
    assertConnected()
    // Answered by the stream's leader, whatever the stream says of direct reads.
    const found = await manager.streams.getMessage(stream, query)
    if (found === null) return null
    const { subject, seq, data, time } = found
    return { subject: subject.slice(stream.length + 1), seq, bytes: data, at: time.getTime() }
  }

  /** Takes away the message at a place, if it is still there. A server that is killed within seconds may find it again, unless it is erased. */
  async function remove(seq: number, erased = false): Promise<boolean> {
    assertConnected()
    try {
      return await manager.streams.deleteMessage(stream, seq, erased)
    } catch (error) {
      if (isGone.has(codeOf(error))) return false
      throw error
    }
  }

  return {
    /** Rejects with a `ConfigError` unless the stream is there and is as `wanted`; its number of replicas is its own business. */
    async assertSuits(wanted: NatsStream, advice: string): Promise<void> {
      assertConnected()
      let found: Record<string, unknown>
      try {
        found = (await manager.streams.info(stream)).config as Record<string, unknown>
      } catch (error) {
        if (codeOf(error) !== streamNotFound) throw error
        throw new ConfigError(`nats: there is no stream '${stream}': ${advice}`)
      }
      for (const name of ['max_msgs_per_subject', 'max_age', 'duplicate_window', 'discard'] as const) {
        if (found[name] === wanted[name]) continue
        throw new ConfigError(
          `nats: ${name} of the stream '${stream}' is ${String(found[name])} and has to be ${wanted[name]}: ${advice}`,
        )
      }
    },

    /** Adds a message of a subject that nobody else uses, or for which the last one counts. Its place in the log. */
    async add(subject: string, bytes: Uint8Array): Promise<number> {
      return (await publish(subject, bytes, {})).seq
    },

    /**
     * Writes only if `after` is the place of the subject's last message (0: if there is none), and answers the place of the new one; `null` when
     * it is not, or may not have been: look, and try again.
     *
     * Before nats-server 2.9.21 the leader of a replicated stream checks the place of a message against what is committed, not against what is on
     * its way, so that several writers find that they were first; only that there is none is checked again when the write is carried out. So all who would
     * replace the same message use the same message id, which is looked at when writes are carried out, one after the other.
     */
    async write(subject: string, bytes: Uint8Array, after: number, signal?: AbortSignal): Promise<number | null> {
      signal?.throwIfAborted()
      const expect = { lastSubjectSequence: after }
      const shared = after === 0 ? { expect } : { expect, msgID: `${subject}@${after}` }
      try {
        const ack = await publish(subject, bytes, shared).catch((error: unknown) => {
          // A newer server says so of an id that was never carried out, too, and for minutes. It needs none to be right.
          if (codeOf(error) === idInProcess) return publish(subject, bytes, { expect })
          throw error
        })
        if (ack.duplicate) return null
        // Nobody waits for that: the last one counts.
        if (after !== 0) void remove(after).catch(() => {})
        return ack.seq
      } catch (error) {
        if (isOtherPlace.has(codeOf(error))) return null
        throw error
      }
    },

    /** The last message of a subject. */
    last: (subject: string): Promise<NatsMessage | null> => message({ last_by_subj: `${stream}.${subject}` }),

    remove,

    /**
     * Takes away all messages of a subject up to the place `last`, oldest first, so that none of them is ever the last one again; a server that is killed
     * has them erased all the same. Whether that at `last` was still there.
     */
    async clear(subject: string, last: number): Promise<boolean> {
      for (;;) {
        const first = await message({ seq: 1, next_by_subj: `${stream}.${subject}` })
        if (first === null || first.seq > last) return false
        const isGone = await remove(first.seq, true)
        if (first.seq === last) return isGone
      }
    },

    /**
     * Messages from the place `from` on, in order: so many or more, or up to one that is at `until` or after it; fewer when the server that
     * answers has no more. None is missing before the last of them, however far behind that server is: it has all up to there.
     */
    async messages(from: number, atLeast: number, until = Infinity): Promise<readonly NatsMessage[]> {
      const found = new Map<number, NatsMessage>()
      let at = from
      for (let width = 1; found.size < atLeast && at <= until;) {
        // Places are sparse where much was replaced, so several are only asked for at once where that was worth it.
        const answers = await Promise.all(
          Array.from({ length: width }, (_, i) => message({ seq: at + i, next_by_subj: `${stream}.>` })),
        )
        const before = found.size
        for (const answer of answers) {
          // After the first that finds nothing the others may be answers of another server, which is ahead.
          if (answer === null) return [...found.values()]
          found.set(answer.seq, answer)
          at = answer.seq + 1
        }
        width = Math.min(64, 2 * (found.size - before))
      }
      return [...found.values()]
    },
  }
}

const streamNotFound = 10059
const idInProcess = 10158
/** And one that is not told, since it is being written. */
const isOtherPlace: ReadonlySet<unknown> = new Set([10071, 10164])

/** Of a place without a message, and of one that never had any. */
const isGone: ReadonlySet<unknown> = new Set([10057, 10043])

/** The server's own number for what is wrong, of a `JetStreamApiError`. */
function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code
}
