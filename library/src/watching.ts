// Who holds something open for a session, such as a socket, hears of its end and of changes of its identity.
import { harmless } from './internal/harmless.ts'
import { unref } from './internal/timers.ts'
import type { SessionRecord } from './store.ts'
import type { Verifier } from './verify/verify.ts'

export interface WatchingOptions {
  readonly verifier: Verifier | null
  /** How often the store is asked where the feed can't tell. */
  readonly everyMs: number
  readonly now: () => number
  /** A live session; `null` when it is not. Rejects when that can't be known. `undefined`: there is nobody to ask. */
  readonly read: (id: string) => Promise<(Known & { readonly endsAt?: number }) | null | undefined>
}

type Known = Pick<SessionRecord, 'expiresAt' | 'epoch'>

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
  readonly id: string
  readonly epoch: number
  expiresAt: number
  endsAt: number
  /** Elapsed time at which it was last known to be alive by the store. */
  checkedAt: number
  /** Its session has reached that epoch: `Infinity` when it ended. */
  readonly reached: (epoch: number) => void
}

/** Look-ups at once. */
const batch = 50

export function watching({ verifier, everyMs, now, read }: WatchingOptions): Watching {
  const all = new Set<Watched>()
  let timer: ReturnType<typeof setTimeout> | null = null

  /** The feed says of an ending at once, but not of an expiry, nor of what was missed. */
  function due({ expiresAt, checkedAt }: Watched): boolean {
    return now() >= expiresAt || verifier === null || !verifier.fresh() || checkedAt < verifier.unbrokenSince
  }

  async function check(watched: Watched): Promise<void> {
    const checkedAt = verifier?.now() ?? 0
    const record = await read(watched.id)
    if (record === null || (record === undefined && now() >= watched.expiresAt)) return watched.reached(Infinity)
    if (record === undefined) return
    const { expiresAt, endsAt = watched.endsAt } = record
    Object.assign(watched, { checkedAt, expiresAt, endsAt })
    watched.reached(record.epoch)
  }

  async function checkAll(): Promise<void> {
    // Nobody has to be asked of that: nothing extends it.
    for (const watched of all) if (now() >= watched.endsAt) watched.reached(Infinity)
    const asked = [...all].filter(due)
    for (let from = 0; from < asked.length; from += batch) {
      // A store that can't answer ends nothing else: nobody is signed out by an outage.
      await Promise.allSettled(asked.slice(from, from + batch).map(check))
    }
    timer = null
    plan()
  }

  function plan(): void {
    if (timer !== null || all.size === 0) return
    timer = unref(setTimeout(() => void checkAll(), everyMs))
  }

  return {
    watch({ id, expiresAt, endsAt, epoch: seen }, onOver) {
      const tell = harmless('the callback of watch', onOver)
      let stop = () => {}
      const watched: Watched = {
        id,
        epoch: seen,
        expiresAt,
        endsAt,
        checkedAt: verifier?.now() ?? 0,
        reached(epoch) {
          if (epoch <= seen || !all.delete(watched)) return
          stop()
          tell(epoch === Infinity ? 'ended' : 'changed')
        },
      }
      all.add(watched)
      stop = verifier?.onReached(id, watched.reached) ?? stop
      // It may have ended or changed between being opened and being watched.
      queueMicrotask(() => watched.reached(verifier?.epoch(id) ?? 0))
      plan()
      return () => {
        if (all.delete(watched)) stop()
      }
    },
    ended(ids) {
      for (const watched of all) if (ids.includes(watched.id)) watched.reached(Infinity)
    },
    close() {
      if (timer !== null) clearTimeout(timer)
      all.clear()
    },
  }
}
