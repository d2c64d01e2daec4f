// Many look-ups in an engine: as many at once as it answers quickly, and none while it is given a pause.
import { StoreUnavailableError } from '../errors.ts'
import { unref } from './timers.ts'

export interface Paced {
  /** Has it asked for, in its turn. One that waits for its turn, or for its answer, is not asked for twice. */
  add(key: string): void
  close(): void
}

const fewest = 50
const most = 1_000
/** An engine that takes longer has enough to do: requests wait for it, too. */
const slowMs = 100

/** `ask` rejects where there is no answer; the key is then forgotten, unless nobody was asked: it keeps its turn. */
export function paced(ask: (key: string) => Promise<void>, elapsed: () => number): Paced {
  const waiting = new Set<string>()
  const underWay = new Set<string>()
  let atOnce = fewest
  let pause: ReturnType<typeof setTimeout> | null = null

  function goOn(): void {
    for (const key of waiting) {
      if (pause !== null || underWay.size >= atOnce) return
      waiting.delete(key)
      underWay.add(key)
      void run(key)
    }
  }

  async function run(key: string): Promise<void> {
    const beganAt = elapsed()
    try {
      await ask(key)
      resume()
      if (elapsed() - beganAt > slowMs) askFewer()
      else if (waiting.size > 0) atOnce = Math.min(atOnce + 1, most)
    } catch (error) {
      if (wasNotSent(error)) {
        waiting.add(key)
        pause ??= unref(setTimeout(resume, error.retryAfterMs))
      } else askFewer()
    } finally {
      underWay.delete(key)
    }
    goOn()
  }

  function askFewer(): void {
    atOnce = Math.max(atOnce - 1, fewest)
  }

  function resume(): void {
    if (pause === null) return
    clearTimeout(pause)
    pause = null
    goOn()
  }

  return {
    add(key) {
      if (underWay.has(key)) return
      waiting.add(key)
      goOn()
    },
    close() {
      waiting.clear()
      if (pause !== null) clearTimeout(pause)
    },
  }
}

/** The circuit is open: of that there is no cause. */
function wasNotSent(error: unknown): error is StoreUnavailableError {
  return error instanceof StoreUnavailableError && error.cause === undefined
}
