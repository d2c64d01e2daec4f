// Sessions of a user by an index that is apart from them: it may name what is gone, and is written before what it names.
import type { SessionRecord } from '../store.ts'

/** The live sessions of `userId`, newest first. `indexed` answers the ids that may be theirs, `get` a live record or `null`. */
export async function listed(
  userId: string,
  indexed: () => Promise<readonly string[]>,
  get: (id: string) => Promise<SessionRecord | null>,
): Promise<readonly SessionRecord[]> {
  const live = new Map<string, SessionRecord>()
  const absences = new Map<string, number>()
  let missing: boolean
  do {
    const ids = (await indexed()).filter((id) => !live.has(id) && (absences.get(id) ?? 0) < 2)
    const records = await Promise.all(ids.map((id) => get(id)))
    for (const [i, id] of ids.entries()) {
      const record = records[i]!
      if (record === null) absences.set(id, (absences.get(id) ?? 0) + 1)
      else live.set(id, record)
    }
    // It may just have been replaced, by a session that was indexed after we looked, or, since it is indexed first, not yet
    // written when we did: so what is absent is asked for twice, and the index once more.
    missing = records.includes(null)
  } while (missing)
  return [...live.values()].filter((record) => record.userId === userId).sort((a, b) => b.createdAt - a.createdAt)
}
