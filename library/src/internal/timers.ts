// Timers, as every runtime has them.

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

/** After losing to somebody else who wrote: by chance, so that it is not always the same who wait. */
export function waitByChance(attempt: number): Promise<void> {
  return sleep(Math.random() * Math.min(2 ** attempt, 16))
}

/** On Node a timer keeps the process alive unless told otherwise; elsewhere it is a number. */
export function unref<T>(timer: T): T {
  ;(timer as { unref?: () => void }).unref?.()
  return timer
}
