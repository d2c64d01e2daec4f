// The verifier: what was verified before, believed for as long as the view of endings is young enough.
import { digest } from '#crypto'
import type { Feed, Notice } from '../feed.ts'
import { cache, type CacheLimits } from './cache.ts'
import type { Judgement, Verified, Verifier } from './verify.ts'
import { view } from './view.ts'

export interface VerifierOptions extends CacheLimits {
  readonly feed: Pick<Feed, 'follow'>
  readonly maxStalenessMs: number
  readonly maxEndings: number
  /** Elapsed time in ms. */
  readonly now: () => number
  readonly changed: (cause: unknown) => void
  readonly gap: () => void
  /** Resolves when signatures are checked by the new keys. */
  readonly keysChanged: () => Promise<unknown>
}

/**
 * By how much the clocks of those who issue tokens and those who check them may differ together, for a token that nobody would
 * accept any more to be forgotten. Generous: it costs one look-up per session after a start.
 */
const clocksMs = 300_000

/** A signature is checked again after that long: the notice that its key was taken back may have been lost. */
const signatureMs = 60_000

/** Forgotten after that long: its notice was lost, or came before it was asked for. */
const lagExpiresMs = 10_000

export function verifier(o: VerifierOptions): Verifier {
  const { now } = o
  const cached = cache(o)
  const running = new Map<string, Promise<unknown>>()
  const listeners = new Map<string, Set<(epoch: number) => void>>()
  /** Elapsed time since which signatures are checked by the keys there are. */
  let checkedSince = -Infinity
  let hits = 0
  let misses = 0
  let own: { id: string; at: number } | null = null
  let lagMs: number | null = null

  const seen = view({
    feed: o.feed,
    maxStalenessMs: o.maxStalenessMs,
    maxEndings: o.maxEndings,
    now,
    changed: o.changed,
    onNotice(notice) {
      if (notice.kind === 'keys') void forgetSignatures()
      else if (notice.kind === 'changed') reached(notice.id, notice.epoch)
      else for (const id of notice.ids) reached(id, Infinity)
    },
    onGap() {
      cached.clear()
      o.gap()
    },
  })

  /** What a key that was taken back has signed must be checked again, also what was checked while the keys were on their way. */
  async function forgetSignatures(): Promise<void> {
    cached.clear()
    await o.keysChanged()
    checkedSince = now()
    cached.clear()
  }

  function reached(id: string, epoch: number): void {
    cached.forget(id)
    if (epoch === Infinity && own?.id === id) {
      lagMs = now() - own.at
      own = null
    }
    for (const listener of listeners.get(id) ?? []) listener(epoch)
  }

  function get(key: string): Verified | null {
    const found = cached.get(key)
    if (found === null || (found.proof && now() - found.beganAt > signatureMs)) {
      misses++
      return null
    }
    hits++
    return found
  }

  function judge(key: string, beganAt: number, { known, proof }: Verified): Judgement {
    const epoch = seen.epoch(known.id)
    if (epoch === Infinity) return 'ended'
    if (epoch > known.epoch) return 'stale'
    if (!seen.fresh() || beganAt < Math.max(seen.remembersSince, checkedSince)) return 'unsure'
    cached.set(key, { known: { ...known, data: proof ? known.data : null, shared: { who: null } }, proof, beganAt })
    return 'good'
  }

  return {
    find(token) {
      if (!seen.fresh()) return null
      const key = digest(token)
      return typeof key === 'string' ? get(key) : key.then((hash) => (seen.fresh() ? get(hash) : null))
    },
    async once<T>(token: string, run: () => Promise<T>) {
      const before = running.get(token) as Promise<T> | undefined
      if (before !== undefined) return { result: await before, shared: true }
      const mine = run()
      running.set(token, mine)
      try {
        return { result: await mine, shared: false }
      } finally {
        running.delete(token)
      }
    },
    now,
    judge(token, beganAt, verified) {
      const key = digest(token)
      return typeof key === 'string'
        ? judge(key, beganAt, verified)
        : key.then((hash) => judge(hash, beganAt, verified))
    },
    fresh: seen.fresh,
    coversAll: (lifetimeMs) => now() - seen.remembersSince >= lifetimeMs + clocksMs,
    ended: (id) => seen.epoch(id) === Infinity,
    epoch: seen.epoch,
    onReached(id, listener) {
      const all = listeners.get(id) ?? new Set()
      listeners.set(id, all.add(listener))
      return () => {
        all.delete(listener)
        if (all.size === 0 && listeners.get(id) === all) listeners.delete(id)
      }
    },
    deny: (id) => seen.note({ kind: 'ended', ids: [id], reason: 'ended' }),
    note(notice: Notice) {
      const [id] = notice.kind === 'ended' ? notice.ids : []
      const isNews = id !== undefined && seen.epoch(id) !== Infinity
      seen.note(notice)
      if (isNews && (own === null || now() - own.at > lagExpiresMs)) own = { id, at: now() }
    },
    renew(id, record) {
      if (record === null) cached.forget(id)
      else cached.renew(id, record)
    },
    get asOf() {
      return seen.asOf
    },
    get unbrokenSince() {
      return seen.unbrokenSince
    },
    get status() {
      return {
        fresh: seen.fresh(),
        ageMs: seen.ageMs(),
        lagMs,
        cached: cached.size,
        cachedBytes: cached.bytes,
        hits,
        misses,
        endings: seen.size,
      }
    },
    close: seen.close,
  }
}
