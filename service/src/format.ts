// The format mark: a store written by a newer Holdfast is refused, never half understood.
import type { SessionRecord, Store } from 'holdfast'
import { ownRecord, recordId } from './own-record.ts'
import { StartError } from './start-error.ts'

/**
 * Of what the service itself keeps in a store. Goes up when an older service could not work with it.
 * 1: endings were not published; a service that knows only that one would end sessions behind the backs of the others.
 */
export const format = 2

/** The format a store is marked with; `null` when it is not. The mark lies beside the clients. */
export async function readFormat(clients: Store): Promise<number | null> {
  const mark = await clients.get(formatMarkId)
  return mark === null ? null : formatOf(mark)
}

/** Marks a store that is new, or of an older format. `StartError` when its mark is of a newer one. */
export async function ensureFormat(clients: Store): Promise<void> {
  const found = await clients.get(formatMarkId)
  if (found !== null) checkFormat(formatOf(found))
  if (found !== null && formatOf(found) === format) return
  const mark = ownRecord(markName, { format }, found)
  // Another replica may have been first, and of another version.
  if (!(await clients.put(mark, found?.version ?? null))) checkFormat((await readFormat(clients)) ?? format)
}

function formatOf({ identity }: SessionRecord): number {
  return (JSON.parse(identity) as { format: number }).format
}

export function checkFormat(found: number): void {
  if (found <= format) return
  throw new StartError(
    `HOLDFAST_STORE: the store was written by a newer Holdfast (format ${found}; this one knows ${format}): upgrade this Holdfast, or use another store`,
  )
}

const markName = '#format'
/** Where it lies. */
export const formatMarkId = recordId(markName)
