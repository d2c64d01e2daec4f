// An engine: the stores that a URL names, opened, and what the service asks of it beside them.
import type { ScannableStore } from 'holdfast'
import type { StoreUrl } from './store-url.ts'

/** One thing an operator should know. `ok: false` wants something done; `advice` says what. */
export interface Finding {
  readonly what: string
  readonly ok: boolean
  readonly found: string
  readonly advice: string | null
}

export interface Engine {
  readonly sessions: ScannableStore
  /** A place of its own for the clients and the format mark, on the same engine. */
  readonly clients: ScannableStore
  /** What `holdfast doctor` should say of the engine itself. Rejects when it can't be asked. */
  inspect(): Promise<readonly Finding[]>
  /** Ends connections and files. Nothing may be asked afterwards. */
  close(): Promise<void>
}

/** Hears of the connection being lost (with the cause) and coming back (`null`), once for each change. */
export type ConnectionChanged = (cause: Error | null) => void

/** Resolves when the engine answers; `StartError` when it does not. */
export async function openEngine(url: StoreUrl, changed: ConnectionChanged = () => {}): Promise<Engine> {
  // Only the engine in use is loaded.
  switch (url.kind) {
    case 'memory':
      return (await import('./memory.ts')).memoryEngine()
    case 'sqlite':
      return (await import('./sqlite.ts')).sqliteEngine(url.path)
    default:
      return (await import('./redis.ts')).redisEngine(url, changed)
  }
}
