// What the tests of stores keep.
import type { SessionRecord } from 'holdfast'

/** A session of anna's that lives for an hour, by the clock of this machine. */
export function record(o: Partial<SessionRecord> = {}): SessionRecord {
  const now = Date.now()
  return {
    id: Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('base64url'),
    userId: 'anna',
    credential: '',
    identity: '{}',
    data: '{}',
    createdAt: now,
    seenAt: now,
    expiresAt: now + 3_600_000,
    epoch: 0,
    version: 1,
    ...o,
  }
}
