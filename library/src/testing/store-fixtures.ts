// Records for the contract of stores, and the passing of their time.
import type { SessionRecord, Store } from '../store.ts'
import type { StoreUnderTest } from './store.ts'

/** A live session of its own user, of version 1, that expires in half an hour. */
export function session(t: StoreUnderTest, o: Partial<SessionRecord> = {}): SessionRecord {
  const now = nowOf(t)
  return {
    id: randomText(16),
    userId: `user-${randomText(6)}`,
    credential: randomText(32),
    identity: '{"roles":["shopper"],"amr":["pwd"]}',
    data: '{"cart":[{"sku":"tea","n":2}]}',
    createdAt: now,
    seenAt: now,
    expiresAt: now + 30 * 60_000,
    epoch: 0,
    version: 1,
    ...o,
  }
}

/** The next version of it. */
export function next(record: SessionRecord, o: Partial<SessionRecord> = {}): SessionRecord {
  return { ...record, version: record.version + 1, ...o }
}

export function nowOf({ clock }: StoreUnderTest): number {
  return (clock ?? Date).now()
}

/** For a life that the test has to see the end of: short only where it is waited for. */
export function brief(t: StoreUnderTest): number {
  return t.clock === undefined ? 150 : 60_000
}

/** Does what has to be done before a brief life is over; with a longer one, when the machine was too busy for that. */
export async function within<T>(t: StoreUnderTest, lived: (expiresAt: number) => Promise<T>): Promise<T> {
  for (let life = brief(t); ; life *= 4) {
    const expiresAt = nowOf(t) + life
    const result = await lived(expiresAt)
    if (nowOf(t) < expiresAt || life > 30_000) return result
  }
}

/** Comes back at `instant` or later, by the store's clock. */
export async function until(t: StoreUnderTest, instant: number): Promise<void> {
  const { clock } = t
  if (clock !== undefined) return clock.advance(`${Math.max(0, instant - clock.now())}ms`)
  while (Date.now() < instant) await new Promise((resolve) => setTimeout(resolve, instant - Date.now()))
}

/** Two clients on the same data. */
export async function clients(t: StoreUnderTest): Promise<readonly [Store, Store]> {
  return [t.store, (await t.another?.()) ?? t.store]
}

/** Random bytes in base64url. */
export function randomText(bytes: number): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString('base64url')
}

/** Whatever kind of object a store answers with: its own members, in an ordinary object. */
export function plain(record: SessionRecord): SessionRecord
export function plain(record: SessionRecord | null): SessionRecord | null
export function plain(record: SessionRecord | null): SessionRecord | null {
  return record === null ? null : { ...record }
}
