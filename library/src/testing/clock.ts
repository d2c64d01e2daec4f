// A clock that moves only when told, for tests of time.
import { milliseconds, type Duration } from '../internal/duration.ts'

/** Give `now` to `createSessions` and to the stores that take a clock. */
export interface FakeClock {
  /** Milliseconds since the epoch. Needs no `this`. */
  readonly now: () => number
  /** Moves on by that much: `advance('29m')`. */
  advance(duration: Duration): void
}

/** A clock that stands at `startAt`, in milliseconds since the epoch; 1 January 2026 unless told otherwise. */
export function fakeClock(startAt: number = Date.UTC(2026, 0, 1)): FakeClock {
  let at = startAt
  return {
    now: () => at,
    advance(duration) {
      at += milliseconds('advance', duration)
    },
  }
}
