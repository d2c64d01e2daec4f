// A function of the user's, called in the middle of our work: one that throws must not change what it hears of.

/** Calls `listener` and says so on the console when it throws or rejects. `what` it is. */
export function harmless<Args extends unknown[]>(
  what: string,
  listener: ((...args: Args) => void) | undefined,
): (...args: Args) => void {
  if (listener === undefined) return () => {}
  const failed = (error: unknown) => console.error(`holdfast: ${what} threw`, error)
  return (...args) => {
    try {
      // A function that returns a promise is a `() => void` to TypeScript.
      const result = listener(...args) as unknown
      if (result instanceof Promise) result.catch(failed)
    } catch (error) {
      failed(error)
    }
  }
}
