// Session records exactly as `start` makes them: a user, a role, a device and 300 bytes of data.
import { createSessions, type SessionRecord, type Store } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'
import { address, amr, person, roles, userAgent } from './person.ts'

/** Makes the `n`th record, of which each user has `perUser`. */
export type RecordMaker = (n: number, perUser: number) => Promise<SessionRecord>

export function recordMaker(): RecordMaker {
  const made = new Map<string, SessionRecord>()
  const store: Store = {
    ...memoryStore(),
    async put(record) {
      made.set(record.id, record)
      return true
    },
  }
  const sessions = createSessions({ store })
  return async (n, perUser) => {
    const data = { profile: person(n).data }
    const { session } = await sessions.start(userOf(n, perUser), { roles, amr, userAgent, address, data })
    const record = made.get(session.id!)!
    made.delete(record.id)
    return record
  }
}

export function userOf(n: number, perUser: number): string {
  return person(Math.floor(n / perUser)).userId
}

/** As an update of a section leaves it: seen now, its end moved along, the next version. */
export function updated(record: SessionRecord): SessionRecord {
  const now = Date.now()
  const { seenAt, expiresAt, version } = record
  return { ...record, seenAt: now, expiresAt: expiresAt + (now - seenAt), version: version + 1 }
}

/** How many calls are under way at once where many are. */
export const atOnce = 64

export async function inBatches(from: number, to: number, add: (n: number) => Promise<void>): Promise<void> {
  for (let n = from; n < to; n += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, to - n) }, (_, i) => add(n + i)))
  }
}
