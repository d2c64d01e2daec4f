// A move from its first pass to its last.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Mover } from './mover.ts'
import type { Passed } from './pair.ts'

export interface RunOptions {
  readonly mover: Mover
  /** Ends it as soon as both are in step, and not when it is asked to stop. */
  readonly once: boolean
  /** Called off: nothing more is done. */
  readonly signal: AbortSignal
  /** No more is wanted: one last pass, and that is all. */
  readonly stopping: AbortSignal
  /** From the second pass on. How long it took, in ms. */
  readonly inStep: (tookMs: number) => void
  readonly trouble: (error: unknown) => void
}

const restAtLeastMs = 500
/** What can't be written now and then is worth trying again; what never can is not. */
const triesOfOnce = 5

/** Resolves with the last pass; `null` when it was called off before. */
export async function run(o: RunOptions): Promise<Passed | null> {
  for (let [complete, incomplete] = [0, 0]; ;) {
    const isLast = o.stopping.aborted
    const began = performance.now()
    let passed: Passed
    try {
      passed = await o.mover.pass()
    } catch (error) {
      if (o.signal.aborted) return null
      passed = { failed: Infinity, error }
    }
    const tookMs = performance.now() - began
    if (passed.failed === 0) complete++
    else {
      incomplete++
      o.trouble(passed.error)
    }
    // The first one takes long; what it leaves behind is the second one's.
    if (complete >= 2) o.inStep(tookMs)
    if (isLast || (o.once && (complete >= 2 || incomplete >= triesOfOnce))) return passed
    // As long as it worked, at least: whom it serves comes first.
    const rest = complete === 1 ? 0 : Math.max(restAtLeastMs, tookMs)
    await sleep(rest, undefined, { signal: AbortSignal.any([o.signal, o.stopping]) }).catch(() => {})
    if (o.signal.aborted) return null
  }
}
