// The feed in NATS JetStream: a stream of notices, read with a proof that the server that answers is not behind.
import { readUtf8, utf8Length, writeUtf8 } from '#bytes'
import { base64url } from '#crypto'
import type { Cursor, Feed, Notice } from '../feed.ts'
import { bell } from '../internal/bell.ts'
import { deadline } from '../internal/deadline.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import { natsLog, type NatsConnection, type NatsJetStream, natsStream, type NatsStream } from '../internal/nats-log.ts'

/** The stream and how far back it goes: the same for `natsFeedStream` and in every process. */
export interface NatsFeedOptions {
  /** The name of the stream, and what its subjects begin with. Default `holdfast-feed`. */
  stream?: string | undefined
  /** How long notices are kept for readers that are away; after that they find a gap. Default `'1h'`. */
  retention?: Duration | undefined
}

/** What `streams.add` makes the stream of a feed with. `replicas` is 1 unless given: 3 survive the loss of a server. */
export function natsFeedStream(o: NatsFeedOptions & { replicas?: number | undefined } = {}): NatsStream {
  return natsStream({
    stream: o.stream ?? 'holdfast-feed',
    replicas: o.replicas,
    maxAgeMs: milliseconds('retention', o.retention ?? '1h'),
    perSubject: 1,
  })
}

/** An answer that takes longer doesn't come. */
const patienceMs = 1_000
const pollMs = 100
const batch = 256
/** How often a follower looks whether the log is still the one that it read. */
const originEveryMs = 1_000

/**
 * A feed in NATS JetStream, nats-server 2.9 or later, in a stream made with `manager.streams.add(natsFeedStream({ replicas: 3 }))`; `retention` must be
 * the same in both. Connection and manager are as for `natsStore`.
 *
 * **What holds.** A notice is published when most replicas have it: with three, nothing is lost with one of them. A step is complete as of its
 * `asOf`, whoever leads the stream. A leader that was cut off, or stood still while another was chosen, answers reads for up to 20 s as if
 * nothing had happened, so no read can be believed by itself. Therefore a follower first writes: a beat, which has a place in the log only when most
 * replicas have it, and then all that was published before it too. After that it reads until it meets that beat, or a later one. A server that
 * shows it has everything before it; one that is behind has no beat to show, and the read rejects.
 *
 * **Gaps.** When the place of a cursor may be older than `retention`, when the log was purged or made anew (a mark in it, looked at once
 * a second, says which one it is), and when the last notice that was read before is not in its place any more: a backup was restored, or nothing was
 * published for longer than `retention`. Removing other notices by hand shows nowhere.
 *
 * **Cost.** A notice is one write. A follower makes some 20 requests a second when idle, 10 of them writes of nothing; a beat replaces the one
 * before, whoever wrote it, so the stream does not grow. News wakes it by a plain subscription, which is not believed either.
 *
 * Publishing has no deadline of its own: `createSessions` keeps one. A read or a beat without an answer within a second rejects.
 */
export function natsFeed(connection: NatsConnection, manager: NatsJetStream, o: NatsFeedOptions = {}): Feed {
  const wanted = natsFeedStream(o)
  const retentionMs = wanted.max_age / 1e6
  const log = natsLog(connection, manager, wanted.name)
  const within = deadline(patienceMs)

  /**
   * Which log it is, and what time it is there. The mark goes when the log is purged, or made anew, and only then: it is written again long before it
   * would age out.
   */
  async function look(): Promise<{ origin: string; at: number }> {
    for (;;) {
      const [mark, beat] = await Promise.all([log.last(originSubject), log.last(beatSubject)])
      if (beat === null) throw new Error('natsFeed: the stream was purged just now')
      const origin = mark === null ? randomText(6) : textOf(mark.bytes)
      const { at } = beat
      if (mark !== null && at - mark.at < retentionMs / 2) return { origin, at }
      if ((await log.write(originSubject, bytesOf(origin), mark?.seq ?? 0)) !== null) return { origin, at }
    }
  }

  /** `null` when the last notice that was read before is not where it was. */
  async function read(from: Place, beat: number) {
    const found = await log.messages(from.seq + 1, batch, beat)
    const { seq, at } = found.at(-1) ?? from
    const isAll = seq >= beat
    if (!isAll && found.length < batch) throw new Error('natsFeed: the server that answered is behind')
    const { last } = from
    if (last.seq > from.seq && (found[0]?.seq !== last.seq || found[0].subject !== last.subject)) return null
    const messages = found.filter(({ subject }) => subject.startsWith(noticePrefix))
    const notices = messages.map(({ bytes }) => JSON.parse(textOf(bytes)) as Notice)
    return { notices, isAll, place: { origin: from.origin, seq, at, last: messages.at(-1) ?? last } }
  }

  return {
    async publish(notice) {
      await log.add(noticePrefix + randomText(12), bytesOf(JSON.stringify(notice)))
    },

    async *follow({ since, signal, now }) {
      if (signal.aborted) return
      const { ring, news } = bell(pollMs)
      // Something was published. It may not be durable yet, nor ever: that is to be read.
      const subscription = connection.subscribe(`${wanted.name}.${noticePrefix}>`, { callback: ring })
      signal.addEventListener('abort', ring)
      try {
        await within(() => log.assertSuits(wanted, 'make it with streams.add(natsFeedStream()), with the same options'))
        let place = placeOf(since)
        let complete = -Infinity
        let seen = { origin: '', at: 0 }
        let seenAt = -Infinity
        while (!signal.aborted) {
          const asOf = now()
          const beat = await within(() => log.add(beatSubject, nothing))
          if (asOf - seenAt >= Math.min(originEveryMs, retentionMs / 4)) {
            seen = await within(look)
            seenAt = asOf
          }
          const { origin, at } = seen
          // Another log, an earlier state of it, or one from which what comes after the place may have aged out; a tenth is for clocks that differ.
          const isOther =
            place === null || place.origin !== origin || place.seq >= beat || at - place.at > retentionMs * 0.9
          const next = isOther ? null : await within(() => read(place!, beat))
          const gap = place !== null && next === null
          const step = next ?? (await within(() => read({ origin, seq: 0, at, last: noNotice }, beat)))!
          place = step.place
          if (signal.aborted) return
          // What is not all is complete as of no instant but that of the last read that was.
          if (step.isAll) complete = asOf
          yield { notices: step.notices, cursor: cursorOf(place), gap, asOf: complete }
          if (step.isAll && !signal.aborted) await news()
        }
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        signal.removeEventListener('abort', ring)
        subscription.unsubscribe()
      }
    },
  }
}

/** Each notice has a subject of its own, since a subject keeps its last message; all beats share one. */
const noticePrefix = 'n.'
const beatSubject = 'p'
const originSubject = 'o'
const nothing = new Uint8Array(0)

/** Everything up to `seq` was read; what is there was written at `at`, by the clock of the server. */
interface Place {
  readonly origin: string
  readonly seq: number
  readonly at: number
  /** The last notice that was read, or (after `seq`) that is to be met again, to show that this is the log in which it was. */
  readonly last: { readonly seq: number; readonly subject: string }
}

const noNotice = { seq: 0, subject: '' }

/** It names the last notice: beats would pass it by in a log that was set back and has grown again. */
function cursorOf({ origin, at, last: { seq, subject } }: Place): Cursor {
  return `${origin}.${seq}.${at}.${subject.slice(noticePrefix.length)}`
}

function placeOf(cursor: Cursor | undefined): Place | null {
  if (cursor === undefined) return null
  const [origin = '', seq, at, mark] = cursor.split('.')
  const last = { seq: Number(seq), subject: noticePrefix + mark }
  return { origin, seq: Math.max(0, last.seq - 1), at: Number(at), last }
}

function randomText(bytes: number): string {
  return base64url(crypto.getRandomValues(new Uint8Array(bytes)))
}

function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(utf8Length(text))
  writeUtf8(bytes, text, 0)
  return bytes
}

function textOf(bytes: Uint8Array): string {
  return readUtf8(bytes, 0, bytes.length)
}
