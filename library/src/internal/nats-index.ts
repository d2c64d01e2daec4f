// The user index in NATS: per user one message that lists sessions and for how long each is to be listed.
import { readUtf8, room, utf8Length, writeUtf8 } from '#bytes'
import { sha256 } from '#crypto'
import type { NatsLog, NatsMessage } from './nats-log.ts'
import { sleep } from './timers.ts'

/** Session → until when it may be live, in milliseconds since the epoch. */
type Entries = Map<string, number>

/** Of the subjects of lists. */
export const listPrefix = 'u.'

/** Entries are kept `skewMs` longer than that, by the clock of the servers: a machine that is ahead must not take the sessions of others off the list. */
export function natsIndex(log: NatsLog, skewMs: number) {
  const lastEdits = new Map<string, Promise<void>>()

  /** Edits of one list come one after the other within a process, so that only processes compete. */
  function inTurn(subject: string, edit: () => Promise<void>): Promise<void> {
    const turn = (lastEdits.get(subject) ?? Promise.resolve()).then(edit)
    const over = turn
      .catch(() => {})
      .then(() => {
        if (lastEdits.get(subject) === over) lastEdits.delete(subject)
      })
    lastEdits.set(subject, over)
    return turn
  }

  function entriesIn(list: NatsMessage | null, now: number): Entries {
    if (list === null) return new Map()
    const all = JSON.parse(readUtf8(list.bytes, 0, list.bytes.length)) as [string, number][]
    return new Map(all.filter(([, until]) => until + skewMs > now))
  }

  async function subjectOf(userId: string): Promise<string> {
    return listPrefix + (await sha256(userId))
  }

  /** Tries until nobody else wrote in between, or nobody waits any more. `change` answers whether there is something to write. */
  async function edit(
    userId: string,
    signal: AbortSignal | undefined,
    change: (entries: Entries) => boolean,
  ): Promise<void> {
    const subject = await subjectOf(userId)
    return inTurn(subject, async () => {
      for (let attempt = 0; ; attempt++) {
        signal?.throwIfAborted()
        const list = await log.last(subject)
        const entries = entriesIn(list, list?.at ?? 0)
        if (!change(entries)) return
        // A list that goes just when an entry comes takes nothing with it: its place is another one then.
        const isDone =
          entries.size === 0
            ? await log.remove(list!.seq)
            : (await log.write(subject, textOf(entries), list?.seq ?? 0, signal)) !== null
        if (isDone) return
        // Whoever loses lost to one who wrote, so all come to their turn; by chance, so that it is not always the same who wait.
        await sleep(Math.random() * Math.min(2 ** attempt, 16))
      }
    })
  }

  return {
    /** The sessions that are listed, but for those that were over at `now`. */
    async read(userId: string, now: number): Promise<readonly string[]> {
      return [...entriesIn(await log.last(await subjectOf(userId)), now).keys()]
    },

    /** Lists `id` until `until` at least. */
    cover: (userId: string, id: string, until: number, signal?: AbortSignal): Promise<void> =>
      edit(userId, signal, (entries) => {
        if ((entries.get(id) ?? 0) >= until) return false
        entries.set(id, until)
        return true
      }),

    remove: (userId: string, ids: readonly string[], signal?: AbortSignal): Promise<void> =>
      edit(userId, signal, (entries) => ids.filter((id) => entries.delete(id)).length > 0),

    /** Whether a list names nothing any more. */
    isOver: (list: NatsMessage, now: number): boolean => entriesIn(list, now).size === 0,
  }
}

function textOf(entries: Entries): Uint8Array {
  const text = JSON.stringify([...entries])
  const bytes = room(utf8Length(text))
  writeUtf8(bytes, text, 0)
  return bytes
}
