// Removes what has expired where the engine does not, for as long as there is any.
import type { Store, SweepableStore } from 'holdfast'
import type { Logger } from './logs.ts'

/** So often it is looked for. */
const everyMs = 60_000
const batch = 1_000
/** Of what a batch takes, so long is rested after it: sweeping takes a fifth of one connection, or of this thread, and no more. */
const restPerWork = 4

/** Begins at once, and does nothing on an engine that expires by itself. What it returns ends it, and waits for nothing. */
export function sweeping(sessions: Store, logger: Logger): () => void {
  if (!('sweep' in sessions)) return () => {}
  const store = sessions as SweepableStore
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  async function step(): Promise<void> {
    const began = performance.now()
    let isMore = false
    try {
      isMore = (await store.sweep(batch)) >= batch
    } catch (err) {
      // An engine that was closed meanwhile.
      if (stopped) return
      logger.warn({ err }, 'expired sessions could not be removed')
    }
    next(isMore ? (performance.now() - began) * restPerWork : everyMs)
  }

  function next(ms: number): void {
    if (!stopped) timer = setTimeout(() => void step(), ms).unref()
  }

  next(0)
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}
