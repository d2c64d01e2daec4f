// A call to an engine that ends in time and fails fast while the engine is away.
import { ConfigError, StoreUnavailableError } from '../errors.ts'
import type { Breaker } from './breaker.ts'
import { deadline, DeadlineExceeded } from './deadline.ts'

/** Rejects with `StoreUnavailableError`, or the `ConfigError` of an engine that can't be used at all. */
export type GuardedCall = <T>(
  circuit: Breaker,
  call: (signal: AbortSignal) => Promise<T>,
  /** Only calls that may be made twice get two. */
  attempts: 1 | 2,
) => Promise<T>

/** `engine` is what the message calls it. */
export function guardedCall(engine: string, deadlineMs: number): GuardedCall {
  const inTime = deadline(deadlineMs)

  return async function attempt(circuit, call, attempts) {
    const entered = circuit.enter()
    try {
      const value = await inTime(call)
      circuit.succeeded()
      return value
    } catch (cause) {
      if (cause instanceof ConfigError) throw cause
      circuit.failed(cause, cause instanceof DeadlineExceeded ? null : entered)
      if (attempts === 2 && worthAnotherTry(cause)) {
        await reconnected()
        return attempt(circuit, call, 1)
      }
      throw new StoreUnavailableError(reason(engine, cause), deadlineMs, cause)
    }
  }
}

/** Engines reject what is in flight when they find a new primary; waiting out a second deadline helps nobody. */
export function worthAnotherTry(cause: unknown): boolean {
  return !(cause instanceof DeadlineExceeded)
}

/** What an engine's client rejects at once it can often do again as soon as it has connected anew. */
export function reconnected(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 25)
  })
}

function reason(engine: string, cause: unknown): string {
  if (cause instanceof DeadlineExceeded) return `the ${engine} gave ${cause.message}`
  const code = codeOf(cause) ?? codeOf((cause as { cause?: unknown } | null)?.cause)
  return `the ${engine} failed${code === null ? '' : ` (${code})`}`
}

/** Such as ECONNREFUSED. */
function codeOf(cause: unknown): string | null {
  const code = (cause as { code?: unknown } | null | undefined)?.code
  return typeof code === 'string' ? code : null
}
