// Who holds something open for a session, such as a socket, hears of its end and of changes of its identity.
import { harmless } from './internal/harmless.ts'
import { paced } from './internal/paced.ts'
import { unref } from './internal/timers.ts'
import type { SessionRecord } from './store.ts'
import type { Verifier } from './verify/verify.ts'

export interface WatchingOptions {
  readonly verifier: Verifier | null
  /** How late an end may be heard of, as long as the store answers. */
  readonly maxStalenessMs: number
  readonly now: () => number
  /** Elapsed time; the verifier's, if there is one. */
  readonly elapsed: () => number
  /** A live session; `null` when it is not. Rejects when that can't be known. `undefined`: there is nobody to ask. */
  readonly read: (id: string) => Promise<Read | undefined>
}

type Known = Pick<SessionRecord, 'expiresAt' | 'epoch'>
type Read = (Known & { readonly endsAt?: number }) | null

export interface Watching {
  /** Calls `onOver` once. `endsAt` is its absolute end, `Infinity` where that is not known. Answers how to stop. */
  watch(session: Known & { readonly id: string; readonly endsAt: number }, onOver: (why: Over) => void): () => void
  /** What this process itself ended, for when there is no feed. */
  ended(ids: readonly string[]): void
  close(): void
}

/** Why what is known of a session no longer holds. */
export type Over = 'ended' | 'changed'

interface Watched {
  expiresAt: number
  endsAt: number
  /** Elapsed time at which the look-up began by which it was last known to be alive. */
  checkedAt: number
  /** Its session has reached that epoch: `Infinity` when it ended. */
  readonly reached: (epoch: number) => void
}

export function watching({ verifier, maxStalenessMs, now, elapsed, read }: WatchingOptions): Watching {
  const bySession = new Map<string, Set<Watched>>()
  const asking = paced(ask, elapsed)
  /** What is known is asked for anew when it is that old, so that the bound leaves the store as long for its answers. */
  const oldMs = maxStalenessMs / 2
  const pauseMs = maxStalenessMs / 10
  let timer: ReturnType<typeof setTimeout> | null = null

  /** As of now: who hears of an end may watch anew. */
  function openFor(id: string): Watched[] {
    return [...(bySession.get(id) ?? [])]
  }

  /** The feed says of an ending at once, but not of an expiry, nor of what was missed. */
  function dueAt({ checkedAt, expiresAt }: Watched, at: number): number {
    if (at >= expiresAt) return -Infinity
    const isTold = verifier !== null && checkedAt >= verifier.unbrokenSince
    return (isTold ? Math.max(checkedAt, verifier.asOf) : checkedAt) + oldMs
  }

  function look(): void {
    const [at, elapsedMs] = [now(), elapsed()]
    const over: Watched[] = []
    let soonestMs = oldMs
    for (const [id, all] of bySession) {
      for (const watched of all) {
        const dueMs = dueAt(watched, at) - elapsedMs
        // Nobody has to be asked of its absolute end: nothing extends it.
        if (at >= watched.endsAt) over.push(watched)
        else if (dueMs <= 0) asking.add(id)
        else soonestMs = Math.min(soonestMs, dueMs)
      }
    }
    for (const watched of over) watched.reached(Infinity)
    timer = null
    plan(Math.max(soonestMs, pauseMs))
  }

  /** Once for all that is open for the session. A store that can't answer ends nothing: nobody is signed out by an outage. */
  async function ask(id: string): Promise<void> {
    const beganAt = elapsed()
    const record = bySession.has(id) ? await read(id) : undefined
    for (const watched of openFor(id)) {
      if (record === null || (record === undefined && now() >= watched.expiresAt)) watched.reached(Infinity)
      else if (record !== undefined) {
        const { epoch, expiresAt, endsAt = watched.endsAt } = record
        Object.assign(watched, { checkedAt: Math.max(watched.checkedAt, beganAt), expiresAt, endsAt })
        watched.reached(epoch)
      }
    }
  }

  function plan(inMs: number): void {
    if (timer === null && bySession.size > 0) timer = unref(setTimeout(look, inMs))
  }

  function remove(id: string, watched: Watched): boolean {
    const all = bySession.get(id)
    if (all?.delete(watched) !== true) return false
    if (all.size === 0) bySession.delete(id)
    return true
  }

  return {
    watch({ id, expiresAt, endsAt, epoch: seen }, onOver) {
      const tell = harmless('the callback of watch', onOver)
      let stop = () => {}
      const watched: Watched = {
        expiresAt,
        endsAt,
        // It was opened before, by a look-up that may have begun before a gap.
        checkedAt: elapsed() - maxStalenessMs,
        reached(epoch) {
          if (epoch <= seen || !remove(id, watched)) return
          stop()
          tell(epoch === Infinity ? 'ended' : 'changed')
        },
      }
      const all = bySession.get(id) ?? new Set()
      bySession.set(id, all.add(watched))
      stop = verifier?.onReached(id, watched.reached) ?? stop
      // It may have ended or changed between being opened and being watched.
      queueMicrotask(() => watched.reached(verifier?.epoch(id) ?? 0))
      plan(oldMs)
      return () => {
        if (remove(id, watched)) stop()
      }
    },
    ended(ids) {
      for (const id of ids) for (const watched of openFor(id)) watched.reached(Infinity)
    },
    close() {
      if (timer !== null) clearTimeout(timer)
      asking.close()
      bySession.clear()
    },
  }
}
