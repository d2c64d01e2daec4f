// An observer that throws must not change what it observes.
import type { SessionEvent } from '../events.ts'

/** `onEvent`, made harmless. */
export function observed(onEvent: ((event: SessionEvent) => void) | undefined): (event: SessionEvent) => void {
  if (onEvent === undefined) return () => {}
  return (event) => {
    try {
      // A function that returns a promise is a `() => void` to TypeScript.
      const result = onEvent(event) as unknown
      if (result instanceof Promise) result.catch(failed)
    } catch (error) {
      failed(error)
    }
  }
}

function failed(error: unknown): void {
  console.error('holdfast: onEvent threw', error)
}
