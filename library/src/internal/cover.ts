// Until when an index of users shows a session: longer than it lives, so that touching it need not change the index each time.
import type { SessionRecord } from '../store.ts'

export type Lifespan = Pick<SessionRecord, 'seenAt' | 'expiresAt'>

/** Until when the index shows a session: it moves about once per idle window. */
export function coverOf(session: Lifespan): number {
  return coveredUntil(session.expiresAt, spanFor(session))
}

/**
 * For how long an entry covers its session: until `expiresAt`, rounded up to a multiple of 2^span ms. The span is at least what is left of
 * the session, so touching it moves the end of the cover at most about once per idle window.
 */
export function spanFor({ seenAt, expiresAt }: Lifespan): number {
  const atLeastOneMinute = 16
  const atMost35Years = 40
  return Math.min(Math.max(Math.ceil(Math.log2(expiresAt - seenAt)) || 0, atLeastOneMinute), atMost35Years)
}

export function coveredUntil(expiresAt: number, span: number): number {
  return Math.ceil(expiresAt / 2 ** span) * 2 ** span
}
