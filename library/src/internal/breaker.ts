// A circuit breaker: after failures in a row nobody is asked for a while, then one caller tries.
import { StoreUnavailableError } from '../errors.ts'

const failuresToOpen = 5
const pauseMs = 500

export interface Breaker {
  /** Throws `StoreUnavailableError` while the circuit is open. A caller that passes must report how it went. */
  enter(): number
  succeeded(): void
  /**
   * `entered` is what `enter` answered. Calls under way together that fail together, as when their connection breaks, are
   * one failure; with `null` it counts in any case.
   */
  failed(cause: unknown, entered: number | null): void
}

/** `changed` hears of the opening (with its cause) and the closing. */
export function breaker(now: () => number, changed: (cause: unknown) => void): Breaker {
  let failures = 0
  let closedUntil = 0
  /** How many failures there have been, ever. */
  let counted = 0

  return {
    enter() {
      if (failures < failuresToOpen) return counted
      const wait = closedUntil - now()
      // A clock that was set back must not keep the circuit open for longer than one pause.
      if (wait > 0 && wait <= pauseMs) {
        throw new StoreUnavailableError('the store is not answering; it is given a pause', wait)
      }
      closedUntil = now() + pauseMs
      return counted
    },
    succeeded() {
      if (failures >= failuresToOpen) changed(null)
      failures = 0
    },
    failed(cause, entered) {
      if (entered !== null && entered !== counted) return
      counted++
      failures++
      if (failures >= failuresToOpen) closedUntil = now() + pauseMs
      if (failures === failuresToOpen) changed(cause)
    },
  }
}
