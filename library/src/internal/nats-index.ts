// The user index in NATS: a user's list is the message of a subject.
import { readUtf8, room, utf8Length, writeUtf8 } from '#bytes'
import { sha256 } from '#crypto'
import { skewMs } from './clock-skew.ts'
import type { NatsLog, NatsMessage } from './nats-log.ts'
import { lastIn, type UserLists, userLists } from './user-lists.ts'

/** Of the subjects of lists. */
export const listPrefix = 'u.'

interface Found extends NatsMessage {
  readonly text: string
}

export function natsIndex(log: NatsLog): UserLists {
  return userLists<Found>({
    keyOf: async (userId) => listPrefix + (await sha256(userId)),

    async find(subject) {
      const message = await log.last(subject)
      return message === null ? null : { ...message, text: textIn(message) }
    },

    // By the clock of the servers: a machine that is ahead must not take the sessions of others off the list.
    keptSince: ({ at }) => at - skewMs,

    async replace(subject, found, { text, until }, o) {
      // A list that goes just when an entry comes takes nothing with it: its place is another one then.
      if (found !== null && until === null) return log.remove(found.seq)
      return (await log.write(subject, bytesOf(text), found?.seq ?? 0, o?.signal)) !== null
    },
  })
}

/** From when on a list names nothing any more. */
export function listOverAt(list: NatsMessage): number {
  return lastIn(textIn(list)) + skewMs
}

function textIn({ bytes }: NatsMessage): string {
  return readUtf8(bytes, 0, bytes.length)
}

function bytesOf(text: string): Uint8Array {
  const bytes = room(utf8Length(text))
  writeUtf8(bytes, text, 0)
  return bytes
}
