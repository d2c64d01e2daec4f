// The life of signing keys by the clock: published, used, kept for the tokens they signed, gone.
import type { Algorithm, Jwk } from './jwk.ts'

/** A key of the ring, which nothing changes but `signsFrom`. */
export interface RingKey {
  /** Secret. */
  readonly jwk: Jwk
  /** Since when it is published. */
  readonly madeAt: number
  /** Since when it signs, until the next one does. */
  readonly signsFrom: number
}

/** By `signsFrom`, the earliest first. */
export type Ring = readonly RingKey[]

export interface Schedule {
  readonly rotateEveryMs: number
  readonly publishBeforeMs: number
  readonly keepForMs: number
}

/** `next` verifies and does not sign yet; `retiring` verifies what it signed. */
export type KeyState = 'next' | 'current' | 'retiring'

export interface KeyInfo {
  readonly kid: string
  readonly alg: Algorithm
  readonly state: KeyState
  /** Since when it is published, in ms since the epoch. */
  readonly madeAt: number
  readonly signsFrom: number
  /** `null` while nothing follows it. */
  readonly verifiesUntil: number | null
}

/** When a key stops verifying: long enough after its successor began that every token it signed has run out. */
export function verifiesUntil(ring: Ring, key: RingKey, { keepForMs }: Schedule): number {
  const successor = ring[ring.indexOf(key) + 1]
  return successor === undefined ? Infinity : successor.signsFrom + keepForMs
}

export function liveAt(ring: Ring, at: number, schedule: Schedule): Ring {
  const live = ring.filter((key) => verifiesUntil(ring, key, schedule) > at)
  return live.length === ring.length ? ring : live
}

/** The one that signs; where clocks disagree, one before its time rather than none. */
export function currentAt(ring: Ring, at: number): RingKey | null {
  return ring.findLast(({ signsFrom }) => signsFrom <= at) ?? ring[0] ?? null
}

export function statesAt(ring: Ring, at: number, schedule: Schedule): readonly KeyInfo[] {
  const current = currentAt(ring, at)
  return liveAt(ring, at, schedule).map((key) => {
    const { jwk, madeAt, signsFrom } = key
    const state = key === current ? 'current' : signsFrom > at ? 'next' : 'retiring'
    const until = verifiesUntil(ring, key, schedule)
    return { kid: jwk.kid, alg: jwk.alg, state, madeAt, signsFrom, verifiesUntil: until === Infinity ? null : until }
  })
}

/** From when a key made at `at` would sign; `null`: none is due. */
export function nextDueAt(ring: Ring, at: number, { rotateEveryMs, publishBeforeMs }: Schedule): number | null {
  const last = ring.at(-1)
  if (last === undefined) return at
  return at + publishBeforeMs >= last.signsFrom + rotateEveryMs ? at + publishBeforeMs : null
}

/** The key that was published to follow the current one. */
export function nextAfter(ring: Ring, at: number): RingKey | null {
  const current = currentAt(ring, at)
  return current === null ? null : (ring[ring.indexOf(current) + 1] ?? null)
}

/** `key`, new or published before, follows the current one at `signsFrom`, in place of what was to follow it. */
export function followedBy(ring: Ring, key: Omit<RingKey, 'signsFrom'>, signsFrom: number, at: number): Ring {
  const current = currentAt(ring, at)
  const upToCurrent = current === null ? [] : ring.slice(0, ring.indexOf(current) + 1)
  // Never before the one that it follows, which another machine's clock may have dated ahead of ours.
  return [...upToCurrent, { ...key, signsFrom: Math.max(signsFrom, current?.signsFrom ?? 0) }]
}
