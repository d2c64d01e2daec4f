// One deadline for many calls, kept by one coarse shared timer: a timer or signal per call would cost more than the call.

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
  readonly calls: { reject: ((error: Error) => void) | null }[]
  ticksLeft: number
}

const ticks = 10

/** A deadline of `ms`; a call may get up to a tenth more. The timer runs only while calls are under way. */
export function deadline(ms: number): Deadline {
  const slots: Slot[] = []
  let open: Slot | null = null
  let timer: ReturnType<typeof setInterval> | null = null

  function tick(): void {
    open = null
    for (const slot of slots) slot.ticksLeft--
    while (slots[0] !== undefined && slots[0].ticksLeft < 0) expire(slots.shift()!)
    if (slots.length === 0 && timer !== null) {
      clearInterval(timer)
      timer = null
    }
  }

  function expire(slot: Slot): void {
    if (slot.calls.every((call) => call.reject === null)) return
    const error = new DeadlineExceeded(ms)
    slot.abort.abort(error)
    for (const call of slot.calls) call.reject?.(error)
  }

  function slot(): Slot {
    if (open === null) {
      open = { abort: new AbortController(), calls: [], ticksLeft: ticks }
      slots.push(open)
      timer ??= unref(setInterval(tick, ms / ticks))
    }
    return open
  }

  return (call) =>
    new Promise((resolve, reject) => {
      const entry: Slot['calls'][number] = { reject }
      const { abort, calls } = slot()
      calls.push(entry)
      call(abort.signal).then(
        (value) => {
          entry.reject = null
          resolve(value)
        },
        (error: unknown) => {
          entry.reject = null
          reject(error as Error)
        },
      )
    })
}

/** On Node a timer keeps the process alive unless told otherwise; elsewhere it is a number. */
function unref<T>(timer: T): T {
  ;(timer as { unref?: () => void }).unref?.()
  return timer
}
