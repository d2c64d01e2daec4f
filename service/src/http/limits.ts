// A limit on failures per address. What succeeds is neither counted nor slowed.
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import type { Logger } from '../logs.ts'
import { Problem } from '../problems.ts'

/** Failures in a minute that one address may have at one replica; any more are answered with 429, or only logged. */
export const failureLimits = {
  /** Client secrets that are wrong. */
  client: 30,
  /** Tokens that were never issued as they stand: malformed, or an id with the wrong secret. */
  forged: 30,
  /** Tokens whose session ended, expired or never was: only logged, since behind one address may be many users of yesterday. */
  unknown: 6_000,
} as const

export type Failure = keyof typeof failureLimits

export interface FailureLimits {
  /** Counts a failure of a peer; rejects with a `Problem` (429) when there were too many in this minute. */
  count(failure: Exclude<Failure, 'unknown'>, address: string | undefined): Promise<void>
  /** Counts a token whose session is gone; the log says when there were more than usual. */
  note(address: string | undefined, client: string | undefined): Promise<void>
}

export function countFailures(logger: Logger): FailureLimits {
  const limiters = Object.fromEntries(
    Object.entries(failureLimits).map(([failure, points]) => [
      failure,
      new RateLimiterMemory({ points, duration: 60 }),
    ]),
  ) as Record<Failure, RateLimiterMemory>

  return {
    async count(failure, address) {
      try {
        await limiters[failure].consume(peerOf(address))
      } catch (refused) {
        if (!(refused instanceof RateLimiterRes)) throw refused
        const seconds = Math.max(1, Math.ceil(refused.msBeforeNext / 1000))
        throw new Problem(429, 'too-many-failures', `too many failures from this address; try again in ${seconds} s`, {
          headers: { 'retry-after': String(seconds) },
        })
      }
    },
    async note(address, client) {
      try {
        await limiters.unknown.consume(peerOf(address))
      } catch (over) {
        if (!(over instanceof RateLimiterRes)) throw over
        if (over.consumedPoints !== failureLimits.unknown + 1) return
        logger.warn(
          { client },
          `more than ${failureLimits.unknown} tokens of ended sessions in a minute, from one address`,
        )
      }
    },
  }
}

/** Who counts as one peer: an IPv4 address, also when written as IPv6, or the /64 that an IPv6 address is in. */
export function peerOf(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped !== null) return mapped[1]!
  if (!address.includes(':')) return address
  const [head = '', tail] = address.toLowerCase().replace(/%.*$/, '').split('::')
  const groups = head === '' ? [] : head.split(':')
  // `::` stands for as many zero groups as are missing.
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  if (tail !== undefined) groups.push(...Array.from({ length: 8 - groups.length - after.length }, () => '0'), ...after)
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')}::/64`
}
