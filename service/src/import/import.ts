// Brings sessions of express-session over, each once.
import type { Store } from 'holdfast'
import { expressRecord } from 'holdfast/compat/express-store'
import type { Found, Source } from './sources.ts'

export interface Imported {
  imported: number
  /** From an earlier time. */
  alreadyThere: number
  /** Of those, or of the imported, nobody's. */
  guests: number
  expired: number
  /** Not to be read, or too large. */
  failed: number
}

export interface ImportOptions {
  readonly from: Source
  readonly to: Store
  readonly userOf: (session: object) => string | null
  readonly progress: (read: number) => void
  /** What is wrong with one; the session itself is not told. */
  readonly trouble: (error: unknown) => void
}

/** How long one lives whose store does not know: as long as the stores say that give sessions an end. */
const unknownEndMs = 86_400_000

/** Rejects when one of the engines fails; calling again goes on. */
export async function importSessions(o: ImportOptions): Promise<Imported> {
  const counts: Imported = { imported: 0, alreadyThere: 0, guests: 0, expired: 0, failed: 0 }
  let read = 0
  for await (const page of o.from.pages()) {
    await Promise.all(page.map((found) => bring(found, o, counts)))
    o.progress((read += page.length))
  }
  return counts
}

async function bring({ sid, json, expiresAt }: Found, o: ImportOptions, counts: Imported): Promise<void> {
  const now = Date.now()
  const at = expiresAt ?? now + unknownEndMs
  if (at <= now) return void counts.expired++
  let record
  try {
    const kept = JSON.parse(json) as Record<string, unknown>
    if (typeof kept !== 'object' || kept === null || !('cookie' in kept))
      throw new Error('no session of express-session')
    record = await expressRecord(sid, kept, { userId: o.userOf(kept), expiresAt: at, now })
  } catch (error) {
    counts.failed++
    // V8 repeats what it can't parse.
    return o.trouble(error instanceof SyntaxError ? new Error('a session is no JSON') : error)
  }
  if (record.userId === null) counts.guests++
  if (await o.to.put(record, null)) counts.imported++
  else counts.alreadyThere++
}
