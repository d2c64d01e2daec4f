// The user index of engines that have a value per key and a compare-and-set: per user one value, which lists sessions and until when each is to be shown.
import type { SessionRecord, StoreOptions } from '../store.ts'
import { coverOf, type Lifespan } from './cover.ts'
import { waitByChance } from './timers.ts'

/** Session → until when it may be live, in milliseconds since the epoch. */
type Entries = Map<string, number>

/** What an engine does with lists. `Found` is one as it was read, in whose place alone another one may be written. */
interface ListEngine<Found extends { readonly text: string }> {
  keyOf(userId: string): Promise<string>
  find(key: string): Promise<Found | null>
  /** Who changes a list drops what was over before then. Longer ago than any machine's clock is ahead, or by a clock that all share. */
  keptSince(found: Found): number
  /** Answers whether nobody else wrote in between. `until` is the last instant in it, `null` when it is empty. */
  replace(key: string, found: Found | null, list: NewList, o: StoreOptions | undefined): Promise<boolean>
}

interface NewList {
  readonly text: string
  readonly until: number | null
}

export interface UserLists {
  /** The sessions that are listed, but for those that were over by `since`. */
  read(userId: string, since: number): Promise<readonly string[]>
  /** Lists a session that is about to be written, unless `stored`, what it replaces, is listed for as long already. */
  cover(record: SessionRecord, stored: Covered | null, o: StoreOptions | undefined): Promise<void>
  /** Best effort: a listed session that is gone is harmless. Ids are not reused, so this can't hit a new session. */
  uncover(sessions: readonly Pick<SessionRecord, 'id' | 'userId'>[], o: StoreOptions | undefined): Promise<void>
}

type Covered = Lifespan & Pick<SessionRecord, 'userId'>

export function userLists<Found extends { readonly text: string }>(engine: ListEngine<Found>): UserLists {
  const lastEdits = new Map<string, Promise<void>>()

  /** Edits of one list come one after the other within a process, so that only processes compete. */
  function inTurn(key: string, edit: () => Promise<void>): Promise<void> {
    const turn = (lastEdits.get(key) ?? Promise.resolve()).then(edit)
    const over = turn
      .catch(() => {})
      .then(() => {
        if (lastEdits.get(key) === over) lastEdits.delete(key)
      })
    lastEdits.set(key, over)
    return turn
  }

  /** Tries until nobody else wrote in between, or nobody waits any more. `change` answers whether there is something to write. */
  async function edit(
    userId: string,
    o: StoreOptions | undefined,
    change: (entries: Entries) => boolean,
  ): Promise<void> {
    const key = await engine.keyOf(userId)
    return inTurn(key, async () => {
      for (let attempt = 0; ; attempt++) {
        o?.signal?.throwIfAborted()
        const found = await engine.find(key)
        const entries: Entries = found === null ? new Map() : entriesIn(found.text, engine.keptSince(found))
        if (!change(entries)) return
        if (await engine.replace(key, found, listOf(entries), o)) return
        // Whoever loses lost to one who wrote, so all come to their turn.
        await waitByChance(attempt)
      }
    })
  }

  return {
    async read(userId, since) {
      const found = await engine.find(await engine.keyOf(userId))
      return found === null ? [] : [...entriesIn(found.text, since).keys()]
    },

    async cover(record, stored, o) {
      const { id, userId } = record
      const until = coverOf(record)
      if (userId === null || (stored?.userId === userId && until <= coverOf(stored))) return
      await edit(userId, o, (entries) => {
        if ((entries.get(id) ?? 0) >= until) return false
        entries.set(id, until)
        return true
      })
    },

    async uncover(sessions, o) {
      const users = Map.groupBy(sessions, ({ userId }) => userId)
      await Promise.all(
        [...users].map(async ([userId, theirs]) => {
          if (userId === null) return
          await edit(userId, o, (entries) => theirs.filter(({ id }) => entries.delete(id)).length > 0).catch(() => {})
        }),
      )
    },
  }
}

/** The last instant in a list; 0 when it is empty. */
export function lastIn(text: string): number {
  return Math.max(0, ...entriesIn(text, 0).values())
}

function entriesIn(text: string, since: number): Entries {
  const all = JSON.parse(text) as [string, number][]
  return new Map(all.filter(([, until]) => until > since))
}

function listOf(entries: Entries): NewList {
  return { text: JSON.stringify([...entries]), until: entries.size === 0 ? null : Math.max(...entries.values()) }
}
