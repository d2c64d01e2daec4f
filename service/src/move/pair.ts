// Two stores, kept in step pass by pass: what only one has is copied, what is older is brought up to date, what was ended is ended.
import type { ScannableStore, SessionRecord } from 'holdfast'
import { isPrintOf, isSame, printOf, type Print } from './print.ts'
import { opposite, reconciled, source, target, type Where } from './reconciled.ts'

export interface PairOptions {
  readonly stores: readonly [ScannableStore, ScannableStore]
  /** Whether a notice said so, or `end` did it. An id is never reused, so that is for good. */
  readonly hasEnded: (id: string) => boolean
  /** Resolves when every notice that was durable before this call has been taken in. */
  readonly heard: () => Promise<void>
  /** One that has ended is still somewhere: whoever ended it may be about to delete it, or have died. */
  readonly left: (id: string) => Promise<void>
  /** Ends it there: on the other side it is gone before its time, and no notice said so. */
  readonly end: (where: Where, id: string) => Promise<void>
  /** Awaited after a record was written over another. */
  readonly replaced: (where: Where, record: SessionRecord, before: SessionRecord) => Promise<void>
  /** Until the first whole pass: of what differs, the source's wins. */
  readonly sourceWins: boolean
  /** Until the first whole pass: what the source does not have goes. */
  readonly sourceOnly: boolean
  /** What belongs to each side alone. */
  readonly skip: ReadonlySet<string>
  readonly now: () => number
  readonly signal: AbortSignal
  readonly progress: (progress: Progress) => void
}

export type Progress =
  | { readonly step: 'reading'; readonly read: number }
  | { readonly step: 'copying'; readonly done: number; readonly of: number }

/** What happened so far. */
export interface Counts {
  /** To the target, and to the source what began on the target. */
  copied: number
  copiedBack: number
  alike: number
  changed: number
  /** Of these, so many times a change was dropped, because both sides changed the same part of a session at once. */
  dropped: number
  expired: number
  bytes: number
}

export interface Passed {
  /** Records that could not be read or written. The next pass tries them again. */
  readonly failed: number
  /** Of the first of them. */
  readonly error: unknown
}

export interface Pair {
  readonly counts: Readonly<Counts>
  /** Ids of what both sides had when it was last looked at. */
  ids(): Iterable<string>
  /**
   * Everything that was done on either side before this call is done on both when it resolves, but for what `failed`. Rejects when a
   * store can't be walked through.
   */
  pass(): Promise<Passed>
  /** Brings one that both sides have up to date, at once. */
  update(id: string): Promise<void>
  /** One of the stores may have lost data: that something is gone says nothing any more. */
  forget(): void
}

interface Known extends Print {
  /** Both sides had it. `false` only during a walk: one of them has, and the other has yet to be seen. */
  isAgreed: boolean
  /** The last pass that saw it on each side. */
  readonly seen: [number, number]
}

const pageSize = 500
const atOnce = 64
const attempts = 5
/** Clocks of machines may differ by so much: what would expire within it may have. */
const skewMs = 60_000
const everywhere = 3

export function pair(o: PairOptions, knownAlready: readonly string[] = []): Pair {
  const { stores, signal } = o
  const known = new Map<string, Known>(knownAlready.map((id) => [id, { ...unseen, isAgreed: true, seen: [0, 0] }]))
  const counts: Counts = { copied: 0, copiedBack: 0, alike: 0, changed: 0, dropped: 0, expired: 0, bytes: 0 }
  let passes = 0
  let doubts = 0
  let isFirst = true

  /** Puts into `open` what is not as it was, or not as it is on the other side. */
  async function walk(where: Where, open: Set<string>, read: (records: number) => void): Promise<void> {
    let cursor: string | undefined
    do {
      signal.throwIfAborted()
      const page = await stores[where].scan({ cursor, limit: pageSize })
      for (const record of page.records) {
        if (o.skip.has(record.id)) continue
        const before = known.get(record.id)
        if (before === undefined) {
          known.set(record.id, {
            ...printOf(record),
            isAgreed: false,
            seen: where === source ? [passes, 0] : [0, passes],
          })
          continue
        }
        const isNews = !before.isAgreed && before.seen[where] === 0
        before.seen[where] = passes
        if (!isPrintOf(before, record)) open.add(record.id)
        else if (isNews) {
          before.isAgreed = true
          counts.alike++
        }
      }
      read(page.records.length)
      cursor = page.cursor ?? undefined
    } while (cursor !== undefined)
  }

  async function pass(): Promise<Passed> {
    passes++
    const doubtsBefore = doubts
    const changed = new Set<string>()
    let read = 0
    const reading = (records: number) => o.progress({ step: 'reading', read: (read += records) })
    await Promise.all([walk(source, changed, reading), walk(target, changed, reading)])
    /** With the sides that have it. */
    const open = new Map<string, number>()
    for (const [id, { seen, isAgreed }] of known) {
      const sighted = (seen[source] === passes ? bit(source) : 0) | (seen[target] === passes ? bit(target) : 0)
      if (sighted !== everywhere || changed.has(id)) open.set(id, sighted)
      if (!isAgreed) known.delete(id)
    }
    // What the walk missed was gone before now, and its notice, if there was one, was there before it went.
    await o.heard()
    // What the walks found together is not to be relied on.
    if (doubts !== doubtsBefore) return pass()
    let [failed, done, error] = [0, 0, null as unknown]
    const queue = open.entries()
    const worker = async () => {
      for (const [id, sighted] of queue) {
        signal.throwIfAborted()
        try {
          await settle(id, sighted)
        } catch (cause) {
          failed++
          error ??= cause
        }
        o.progress({ step: 'copying', done: ++done, of: open.size })
      }
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
    isFirst &&= failed > 0
    return { failed, error }
  }

  /** `sighted`: the sides that had it in the walk. That it is gone since from one of them is judged by the next pass. */
  async function settle(id: string, sighted: number): Promise<void> {
    for (let attempt = 1; attempt <= attempts; attempt++) {
      const [a, b] = await Promise.all([stores[source].get(id), stores[target].get(id)])
      if (o.hasEnded(id)) {
        known.delete(id)
        if (a !== null || b !== null) await o.left(id)
        return
      }
      if (a !== null && b !== null) {
        if (isSame(a, b)) {
          if (attempt === 1 && !known.has(id)) counts.alike++
          return remember(a)
        }
        await update(a, b)
        continue
      }
      const record = a ?? b
      if (record === null) return forgetOne(id)
      const missing = a === null ? source : target
      if ((sighted & bit(missing)) !== 0) return
      if (await fill(missing, record)) return
    }
  }

  async function update(a: SessionRecord, b: SessionRecord): Promise<void> {
    const both = [a, b] as const
    const { where, record, dropped } = reconciled(both, agreed(a.id), isFirst && o.sourceWins)
    if (!(await stores[where].put(record, both[where].version))) return
    // What changes from now on, on either side, changes this.
    if (record === both[opposite(where)]) remember(record)
    counts.changed++
    if (dropped) counts.dropped++
    await o.replaced(where, record, both[where])
  }

  /** `false`: somebody wrote it there meanwhile. */
  async function fill(missing: Where, record: SessionRecord): Promise<boolean> {
    const { id } = record
    const before = agreed(id)
    if (missing === source && isFirst && o.sourceOnly) {
      await stores[target].delete([id])
      return true
    }
    // Gone though its time was not over. Expired copies of sessions that live on are copied anew.
    if (before !== null && before.expiresAt > o.now() + skewMs) {
      await o.end(opposite(missing), id)
      known.delete(id)
      return true
    }
    if (!(await stores[missing].put(record, null))) return false
    // It may have ended between the reading and the writing.
    if (o.hasEnded(id)) {
      known.delete(id)
      await stores[missing].delete([id])
      return true
    }
    remember(record)
    if (missing === target) counts.copied++
    else counts.copiedBack++
    counts.bytes += record.identity.length + record.credential.length + record.data.length
    return true
  }

  /** Of what both sides had; what a walk found on one of them is only a half of that. */
  function agreed(id: string): Print | null {
    const found = known.get(id)
    return found?.isAgreed === true ? found : null
  }

  function remember(record: SessionRecord): void {
    known.set(record.id, { ...printOf(record), isAgreed: true, seen: [passes, passes] })
  }

  function forgetOne(id: string): void {
    const before = known.get(id)
    if (before !== undefined && before.expiresAt <= o.now() + skewMs) counts.expired++
    known.delete(id)
  }

  return {
    counts,
    ids: () => known.keys(),
    pass,
    update: (id) => settle(id, everywhere),
    forget() {
      doubts++
      known.clear()
    },
  }
}

/** Of what is known to be on both sides, and nothing more. */
const unseen: Print = { version: 0, seenAt: 0, expiresAt: Infinity, identity: 0, data: 0 }

function bit(where: Where): number {
  return 1 << where
}
