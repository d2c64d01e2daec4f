// Memcached as the store uses it: the commands, what they answer, and how long an item is kept.
import { ConfigError } from '../errors.ts'

/** The commands of memcache-client that are used. Loosely typed where it wants a `Buffer`, a type that only Node has. */
export interface Commands {
  gets(key: string): Promise<unknown>
  add(key: string, value: unknown, o: { lifetime: number }): Promise<unknown>
  cas(key: string, value: unknown, o: { lifetime: number; casUniq: string | number }): Promise<unknown>
  delete(key: string): Promise<unknown>
}

/** What an item holds, and what a `cas` needs to replace just that. */
export interface Item {
  readonly value: unknown
  readonly casUniq: string | number
}

export async function find(client: Commands, key: string): Promise<Item | null> {
  return ((await client.gets(key)) as Item | undefined) ?? null
}

/** Memcached is told to keep an item for so long, in seconds, when that is at most 30 days; else until when. */
const relativeAtMost = 30 * 86_400
/** Its seconds are 32 bits long. */
const greatest = 2 ** 31 - 1
/** An item that is stored with it is gone at once: by `cas` a conditional delete. */
export const gone = -1

/** `until` and `now` in milliseconds since the epoch. */
export function exptime(until: number, now: number): number {
  const seconds = Math.ceil((until - now) / 1000)
  if (seconds <= 0) return gone
  return seconds <= relativeAtMost ? seconds : Math.min(Math.ceil(until / 1000), greatest)
}

/** What memcache-client rejects with when the server did not do it, and nothing is wrong. */
const refusals = new Set(['NOT_STORED', 'EXISTS', 'NOT_FOUND'])

/** Whether the server did it. Rejects when it failed. */
export async function isDone(command: Promise<unknown>): Promise<boolean> {
  try {
    await command
    return true
  } catch (error) {
    const { message } = error as Error
    if (refusals.has(message)) return false
    if (!message.includes('too large')) throw error
    throw new ConfigError(
      'a session, or the list of the sessions of a user, is larger than an item of Memcached may be: keep less in it, or start Memcached with a larger -I',
      { cause: error },
    )
  }
}
