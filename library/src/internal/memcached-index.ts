// The user index in Memcached: per user one item that lists sessions and for how long each is to be listed.
import type { StoreOptions } from '../store.ts'
import { type Commands, exptime, find, isDone } from './memcached-commands.ts'
import { sleep } from './timers.ts'

/** Session → until when it may be live, in milliseconds since the epoch. */
type Entries = Map<string, number>

export interface MemcachedIndex {
  /** The sessions that are listed at `key`, but for those that were over at `now`. */
  read(key: string, now: number): Promise<readonly string[]>
  /** Lists `id` until `until` at least. */
  cover(key: string, id: string, until: number, now: number, o: StoreOptions | undefined): Promise<void>
  remove(key: string, ids: readonly string[], now: number, o: StoreOptions | undefined): Promise<void>
}

/** A machine whose clock is ahead must not take the sessions of others off the list: they stay on it for so much longer than they live. */
const forgottenAfterMs = 86_400_000

/** `skewMs` is how far the clocks of two machines that read may be apart. */
export function memcachedIndex(client: Commands, skewMs: number): MemcachedIndex {
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

  function entriesIn(value: unknown, since: number): Entries {
    const all = JSON.parse(value as string) as [string, number][]
    return new Map(all.filter(([, until]) => until > since))
  }

  /** Tries until nobody else wrote in between, or nobody waits any more. `change` answers whether there is something to write. */
  async function edit(
    key: string,
    now: number,
    o: StoreOptions | undefined,
    change: (entries: Entries) => boolean,
  ): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      o?.signal?.throwIfAborted()
      const item = await find(client, key)
      const entries: Entries = item === null ? new Map() : entriesIn(item.value, now - forgottenAfterMs)
      if (!change(entries)) return
      const text = JSON.stringify([...entries])
      const lifetime = exptime(Math.max(0, ...entries.values()) + forgottenAfterMs, now)
      const { casUniq } = item ?? {}
      if (
        await isDone(
          casUniq === undefined ? client.add(key, text, { lifetime }) : client.cas(key, text, { lifetime, casUniq }),
        )
      ) {
        return
      }
      // Whoever loses lost to one who wrote, so all come to their turn; by chance, so that it is not always the same who wait.
      await sleep(Math.random() * Math.min(2 ** attempt, 16))
    }
  }

  return {
    async read(key, now) {
      const item = await find(client, key)
      return item === null ? [] : [...entriesIn(item.value, now - skewMs).keys()]
    },

    cover: (key, id, until, now, o) =>
      inTurn(key, () =>
        edit(key, now, o, (entries) => {
          if ((entries.get(id) ?? 0) >= until) return false
          entries.set(id, until)
          return true
        }),
      ),

    remove: (key, ids, now, o) =>
      inTurn(key, () => edit(key, now, o, (entries) => ids.filter((id) => entries.delete(id)).length > 0)),
  }
}
