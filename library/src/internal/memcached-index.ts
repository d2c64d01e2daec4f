// The user index in Memcached: a user's list is an item, kept for as long as it may be asked for.
import { sha256 } from '#crypto'
import { type Commands, exptime, find, gone, type Item, isDone } from './memcached-commands.ts'
import { type UserLists, userLists } from './user-lists.ts'

/** A machine whose clock is ahead must not take the sessions of others off the list: they stay on it for so much longer than they live. */
const forgottenAfterMs = 86_400_000

interface Found extends Item {
  readonly text: string
}

export function memcachedIndex(client: Commands, keys: string, clock: { now(): number }): UserLists {
  return userLists<Found>({
    keyOf: async (userId) => keys + (await sha256(userId)),

    async find(key) {
      const item = await find(client, key)
      return item === null ? null : { ...item, text: item.value as string }
    },

    keptSince: () => clock.now() - forgottenAfterMs,

    replace(key, found, { text, until }) {
      const lifetime = until === null ? gone : exptime(until + forgottenAfterMs, clock.now())
      return isDone(
        found === null
          ? client.add(key, text, { lifetime })
          : client.cas(key, text, { lifetime, casUniq: found.casUniq }),
      )
    },
  })
}
