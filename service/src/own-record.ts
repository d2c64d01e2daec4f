// The records in a store that are no sessions: clients, and marks of the store itself. They lie in a place of their own.
import { hash } from 'node:crypto'
import type { SessionRecord } from 'holdfast'

/**
 * What is kept under a name, in place of `before`; it does not expire. No client can have a name that begins with `#`.
 */
export function ownRecord(
  name: string,
  content: object,
  before: SessionRecord | null,
  o: { readonly userId?: string; readonly credential?: string } = {},
): SessionRecord {
  const at = Date.now()
  return {
    id: recordId(name),
    userId: null,
    credential: '',
    ...o,
    identity: JSON.stringify(content),
    data: '{}',
    createdAt: before?.createdAt ?? at,
    seenAt: at,
    expiresAt: never,
    epoch: 1,
    version: (before?.version ?? 0) + 1,
  }
}

/** Names are not ids as stores want them: 128 bits in base64url. */
export function recordId(name: string): string {
  return hash('sha256', `client:${name}`, 'buffer').subarray(0, 16).toString('base64url')
}

/** The end of the year 9999, which every engine can keep. */
const never = Date.UTC(9999, 11, 31)
