// One deadline for many calls, kept by one coarse shared timer: a timer or signal per call would cost more than the call.

import { unref } from './timers.ts'

/** Runs a call and rejects with `DeadlineExceeded` when it has not settled in time. */
export type Deadline = <T>(call: (signal: AbortSignal) => Promise<T>) => Promise<T>

export class DeadlineExceeded extends Error {
  constructor(ms: number) {
    super(`no answer within ${ms} ms`)
  }
}

/** Calls that began in the same tick, and so run out together. */
interface Slot {
  readonly abort: AbortController
  readonly calls: Call[]
  ticksLeft: number
}

/** A call under way. It leaves its slot when it settles: what is kept until the end of the tick costs the garbage collector. */
interface Call {
  readonly reject: (error: Error) => void
  at: number
}

const ticks = 10
/** A tick that comes late, in a process that is held up, counts for so many at most: what was answered meanwhile is read after it. */
const ticksAtOnce = ticks / 2

/**
 * A deadline of `ms`; a call may get up to a tenth more, and in a process that is held up the time of some turns of its event loop. The timer runs only
 * while calls are under way.
 */
export function deadline(ms: number): Deadline {
  const slots: Slot[] = []
  let open: Slot | null = null
  let timer: ReturnType<typeof setInterval> | null = null
  let tickedAt = 0

  function tick(): void {
    const now = performance.now()
    const passed = Math.min(Math.max(1, Math.round(((now - tickedAt) * ticks) / ms)), ticksAtOnce)
    tickedAt = now
    // Calls of the one that is still open began since the last tick, when nobody knows.
    for (const slot of slots) slot.ticksLeft -= slot === open ? 1 : passed
    open = null
    while (slots[0] !== undefined && slots[0].ticksLeft < 0) expire(slots.shift()!)
    if (slots.length === 0 && timer !== null) {
      clearInterval(timer)
      timer = null
    }
  }

  function expire({ abort, calls }: Slot): void {
    if (calls.length === 0) return
    const error = new DeadlineExceeded(ms)
    abort.abort(error)
    for (const call of calls) call.reject(error)
  }

  function slot(): Slot {
    if (open === null) {
      open = { abort: new AbortController(), calls: [], ticksLeft: ticks }
      slots.push(open)
      if (timer === null) {
        tickedAt = performance.now()
        timer = unref(setInterval(tick, ms / ticks))
      }
    }
    return open
  }

  return (call) =>
    new Promise((resolve, reject) => {
      const { abort, calls } = slot()
      const entry: Call = { reject, at: calls.length }
      calls.push(entry)
      call(abort.signal).then(
        (value) => {
          leave(calls, entry)
          resolve(value)
        },
        (error: unknown) => {
          leave(calls, entry)
          reject(error as Error)
        },
      )
    })
}

/** The last call takes the place of the one that leaves. */
function leave(calls: Call[], { at }: Call): void {
  const last = calls.pop()!
  if (at === calls.length) return
  calls[at] = last
  last.at = at
}
