// Elapsed time that a suspended machine does not lose.

export interface ElapsedSources {
  /** Default `performance.now`. */
  readonly monotonic?: (() => number) | undefined
  /** Default `Date.now`. */
  readonly wall?: (() => number) | undefined
}

/** Jumps of the wall clock smaller than this are jitter: it counts in whole milliseconds and is slewed by NTP. */
const jitterMs = 20

/**
 * Milliseconds since some instant, never going back. The monotonic clock stands still while a machine is suspended; the wall
 * clock then jumps ahead, and that jump is added. A wall clock that is set ahead counts as a suspension, which errs to the safe
 * side; one that is set back changes nothing.
 */
export function elapsedClock({
  monotonic = () => performance.now(),
  wall = () => Date.now(),
}: ElapsedSources = {}): () => number {
  let drift = wall() - monotonic()
  let suspended = 0
  return () => {
    const mono = monotonic()
    const ahead = wall() - mono - drift
    if (ahead > jitterMs || ahead < -jitterMs) {
      drift += ahead
      if (ahead > 0) suspended += ahead
    }
    return mono + suspended
  }
}
