// What users of a system behind a balancer did, and what was done to the system meanwhile.
import type { Fault, Stall } from './history.ts'

interface Asked {
  /** One name is one session. */
  readonly user: string
  /** CLOCK_MONOTONIC, in ms. */
  readonly began: number
  readonly ended: number
  readonly why?: string | undefined
}

export interface Used extends Asked {
  readonly kind: 'used'
  /** `aside`: a look at an instance that the balancer did not choose. */
  readonly what: 'sign in' | 'add' | 'look' | 'aside' | 'end'
  /** What is added to the cart; `null` for all else. */
  readonly item: string | null
  /** The instance that the balancer had it go to, as far as the user's cookies tell. */
  readonly to: string | null
  /** `null`: it failed. */
  readonly seen: Seen | null
}

/** An answer. */
export interface Seen {
  /** Who the system took the user for. `null`: for nobody. */
  readonly userId: string | null
  /** `null` where the answer has none. */
  readonly cart: readonly string[] | null
  /** The instance that answered; `null` where it doesn't say. */
  readonly by: string | null
}

/** One instance was asked, past the balancer, for a session that had ended. */
export interface Probed extends Asked {
  readonly kind: 'probed'
  readonly by: string
  /** `null`: it did not answer. */
  readonly accepted: boolean | null
}

/**
 * Something that was done on purpose. Requests may fail by it from `began` up to `recoveredAt`, if at all. An instance that was killed
 * is away from then to `ended`.
 */
export interface Strike extends Fault {
  /** `nobody`'s may fail; those `under way` to its target may, and those whose way is not known; or `anybody`'s. */
  readonly excuses: 'nobody' | 'under way' | 'anybody'
}

export type RollingEntry = Used | Probed | Strike | Stall
