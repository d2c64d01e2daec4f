// What is over in a stream of NATS JetStream, found without looking at all of it again and again.
import type { NatsLog, NatsMessage } from './nats-log.ts'
import { sleep } from './timers.ts'

/** Messages that are next to each other, and were looked at. What is written later comes after all of them. */
interface Stretch {
  readonly from: number
  readonly to: number
  /** How many there were at most; some may have been replaced since. */
  readonly count: number
  /** Before then nothing in it is over. */
  readonly dueAt: number
}

interface Looked {
  readonly message: NatsMessage
  /** When it is over. */
  readonly at: number
}

/** So many are looked at before a rest, and remembered as one: few enough to look at again when the first of them is over. */
const pageSize = 500
/** Of what a look at live messages took, so long is rested after it: the servers have others to serve. */
const restPerLook = 3
/** So often it is looked at what is not to be over before, in case somebody put other messages there. */
const trustedMs = 86_400_000

/**
 * Removes what is over, by `overAt`, until so many were removed that count. The first call looks at the whole stream; later ones at what is new, and at what is
 * due: a stretch of messages is remembered by when the first of them is over, some bytes per message.
 */
export function natsSweep(
  log: NatsLog,
  overAt: (message: NatsMessage) => number,
  counts: (message: NatsMessage) => boolean,
): (limit: number, now: number) => Promise<number> {
  let seen: readonly Stretch[] = []
  let last: Promise<unknown> = Promise.resolve()

  async function sweep(limit: number, now: number): Promise<number> {
    const ahead = [...seen, { from: (seen.at(-1)?.to ?? 0) + 1, to: Infinity, count: 0, dueAt: 0 }].toReversed()
    const behind: Stretch[] = []
    let removed = 0
    try {
      while (ahead.length > 0 && removed < limit) {
        const stretch = ahead.at(-1)!
        if (stretch.dueAt > now) {
          add(behind, stretch)
          ahead.pop()
          continue
        }
        const began = performance.now()
        const messages = await log.messages(stretch.from, pageSize, stretch.to)
        const lookMs = performance.now() - began
        const page = messages
          .filter(({ seq }) => seq <= stretch.to)
          .map((message) => ({ message, at: overAt(message) }))
        const [over, left] = parted(page, now, limit - removed)
        const gone = await Promise.all(over.map(({ subject, seq }) => log.clear(subject, seq)))
        removed += over.filter((message, i) => counts(message) && gone[i]).length

        const isWhole = page.length < pageSize
        const end = page.at(-1)?.message.seq ?? stretch.from - 1
        const to = isWhole && stretch.to !== Infinity ? stretch.to : end
        const dueAt = Math.min(now + trustedMs, ...left)
        if (to >= stretch.from) add(behind, { from: stretch.from, to, count: left.length, dueAt })
        ahead.pop()
        if (to < stretch.to && !isWhole) ahead.push({ ...stretch, from: to + 1 })
        if (over.length === 0 && ahead.length > 0) await sleep(lookMs * restPerLook)
      }
    } finally {
      seen = [...behind, ...ahead.toReversed().filter(({ to }) => to !== Infinity)]
    }
    return removed
  }

  /** What is over, up to so many that count; and of the others, when they will be. */
  function parted(page: readonly Looked[], now: number, limit: number): [readonly NatsMessage[], readonly number[]] {
    const [over, left]: [NatsMessage[], number[]] = [[], []]
    let counted = 0
    for (const { message, at } of page) {
      if (at > now || counted === limit) left.push(at)
      else {
        over.push(message)
        if (counts(message)) counted++
      }
    }
    return [over, left]
  }

  return (limit, now) => {
    const turn = last.then(() => sweep(limit, now))
    last = turn.catch(() => {})
    return turn
  }
}

/** Where few are left of two that are next to each other, they become one. */
function add(stretches: Stretch[], { from, to, count, dueAt }: Stretch): void {
  const before = stretches.at(-1)
  if (before === undefined || before.count + count > pageSize) {
    stretches.push({ from, to, count, dueAt })
    return
  }
  stretches.pop()
  stretches.push({ from: before.from, to, count: before.count + count, dueAt: Math.min(before.dueAt, dueAt) })
}
