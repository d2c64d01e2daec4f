// The format mark: a store written by a newer Holdfast is refused, never half understood.
import type { SessionRecord, Store } from 'holdfast'
import { never, recordId } from './clients.ts'
import { StartError } from './start-error.ts'

/** Of what the service itself keeps in a store. Goes up when an older service could not work with it. */
export const format = 1

/** The format a store is marked with; `null` when it is not. The mark lies beside the clients. */
export async function readFormat(clients: Store): Promise<number | null> {
  const record = await clients.get(markId)
  return record === null ? null : (JSON.parse(record.identity) as { format: number }).format
}

/** Marks a store that is new. `StartError` when its mark is of a newer format. */
export async function ensureFormat(clients: Store, at = Date.now()): Promise<void> {
  const found = await readFormat(clients)
  if (found !== null) return checkFormat(found)
  const mark: SessionRecord = {
    id: markId,
    userId: null,
    credential: '',
    identity: JSON.stringify({ format }),
    data: '{}',
    createdAt: at,
    seenAt: at,
    expiresAt: never,
    epoch: 1,
    version: 1,
  }
  // Another replica may have been first, and of another version.
  if (!(await clients.put(mark, null))) checkFormat((await readFormat(clients)) ?? format)
}

export function checkFormat(found: number): void {
  if (found <= format) return
  throw new StartError(
    `HOLDFAST_STORE: the store was written by a newer Holdfast (format ${found}; this one knows ${format}): upgrade this Holdfast, or use another store`,
  )
}

// No client can have this name.
const markId = recordId('#format')
