// The feed of endings as the session service relays it, by long poll.
//
// The bound that a follower may count on is the same as on an engine's own feed. Each answer says how long ago (`ageMs`, elapsed time
// of the service, taken when the answer is made) everything durable was in it or in an earlier one. The answer is made after the request
// was sent, so that instant is no earlier than the request's, read on this process's clock, less `ageMs`: that is `asOf`. No clocks
// are compared, time on the way only makes the view older, and a service whose own feed stands still answers with an age that grows.
// So nobody is let in by a view for longer than `maxStaleness` after an ending was durable. Where the view is too old the service is
// asked, whose own answers are within its own bound (HOLDFAST_MAX_STALENESS); set both to the same.
import type { Feed, FeedStep, Notice } from '../feed.ts'
import { pollMs, type Http } from './http.ts'

interface Relayed {
  readonly notices: readonly Notice[]
  readonly cursor: string
  readonly gap: boolean
  /** `null`: the service itself has not read everything yet. */
  readonly ageMs: number | null
}

export function remoteFeed(http: Http): Pick<Feed, 'follow'> {
  return {
    async *follow({ since, signal, now }) {
      for (let cursor = since; !signal.aborted;) {
        const asked = new URLSearchParams({ wait: String(pollMs), ...(cursor === undefined ? {} : { since: cursor }) })
        const sentAt = now()
        let body: unknown
        try {
          ;({ body } = await http.poll(`/v1/feed?${asked.toString()}`, signal))
        } catch (error) {
          if (signal.aborted) return
          throw error
        }
        const step = stepOf(body, sentAt)
        yield step
        ;({ cursor } = step)
      }
    },
  }
}

function stepOf(body: unknown, sentAt: number): FeedStep {
  const { notices, cursor, gap, ageMs } = (body ?? {}) as Relayed
  const isAge = ageMs === null || (typeof ageMs === 'number' && ageMs >= 0)
  if (!Array.isArray(notices) || typeof cursor !== 'string' || typeof gap !== 'boolean' || !isAge)
    throw new Error('the service answered with no step of a feed')
  return { notices, cursor, gap, asOf: ageMs === null ? -Infinity : sentAt - ageMs }
}
