// Keeps two engines in step: sessions, clients and keys by passes, endings and changes of identity as the feeds tell of them.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Feed, Notice, ScannableStore } from 'holdfast'
import { formatMarkId } from '../format.ts'
import { StartError } from '../start-error.ts'
import { listener } from './listener.ts'
import { isMarked, moveMarkId, nameOf, readPlace, restoreName, writePlace, type Place } from './mark.ts'
import { pair, type Counts, type Passed, type Progress } from './pair.ts'
import { opposite, source, target, type Where } from './reconciled.ts'

/** What of an engine takes part. */
export interface Side {
  readonly sessions: ScannableStore
  readonly clients: ScannableStore
  /** That of the processes which use this side; `null`: they have none. */
  readonly feed: Feed | null
}

export interface MoverOptions {
  readonly from: Side
  readonly to: Side
  /** Make the target a copy, whatever it has: for one that no process uses yet. */
  readonly replace?: boolean | undefined
  readonly signal: AbortSignal
  readonly progress?: ((progress: Progress) => void) | undefined
  /** Something failed that is tried again. */
  readonly trouble?: ((error: unknown) => void) | undefined
  /** Milliseconds since the epoch. */
  readonly now?: (() => number) | undefined
}

export interface Mover {
  /** Whether an earlier move between the two goes on. */
  readonly resumed: boolean
  /** Sessions that ended on one side and so were ended on the other. */
  readonly ended: number
  readonly counts: Readonly<Counts>
  /** Clients and keys that were written or removed on one of the sides. */
  readonly clients: number
  /** Everything that was done on either side before this call is done on both when it resolves with nothing `failed`. */
  pass(): Promise<Passed>
  /** One of the engines was away: its data may not be what it was. */
  doubt(): void
}

const retryMs = 1_000
/** Whoever ended a session has deleted it after so long, and answered, or never will. */
const endingMs = 5_000

/**
 * Resolves when both feeds are heard. `StartError` when both sides are one store, or an earlier move was interrupted for longer than the
 * feeds remember. Runs until the signal.
 */
export async function mover(o: MoverOptions): Promise<Mover> {
  const { from, to, signal, replace = false } = o
  const { progress = () => {}, trouble = () => {}, now = Date.now } = o
  const sides = [from, to] as const
  const names = [await nameOf(from.clients), await nameOf(to.clients)] as const
  if (names[source] === names[target]) throw new StartError('--to: it is the store of --from by another name')
  const place = replace ? null : await readPlace(to.clients, names[source])
  /** What ended, and when that was heard. */
  const ended = recent<number>()
  /** Changes of identity that both feeds have. */
  const told = recent<true>()
  let [endedCount, removed] = [0, 0]
  let [isListening, isTooLate] = [false, false]
  let saved = ''

  const common = { heard: heardAndWhole, now, signal }
  const sessions = pair({
    ...common,
    stores: [from.sessions, to.sessions],
    hasEnded: ended.has,
    async left(id) {
      const at = ended.get(id)!
      ended.set(id, at)
      if (performance.now() - at > endingMs) await Promise.all(sides.map((side) => side.sessions.delete([id])))
    },
    sourceWins: replace,
    sourceOnly: replace,
    skip: new Set(),
    progress,
    end: (where, id) => endThere(where, { kind: 'ended', ids: [id], reason: 'ended' }),
    async replaced(where, { id, epoch }, before) {
      if (epoch > before.epoch) await tellChanged(where, id, epoch)
    },
  })
  const clients = pair(
    {
      ...common,
      stores: [from.clients, to.clients],
      hasEnded: () => false,
      left: async () => {},
      sourceWins: place === null,
      sourceOnly: replace,
      skip: new Set([formatMarkId, moveMarkId]),
      progress: () => {},
      async end(where, id) {
        await sides[where].clients.delete([id])
        removed++
      },
      async replaced(where) {
        await sides[where].feed?.publish({ kind: 'keys' })
      },
    },
    place?.clients,
  )
  const listeners = [listen(source), listen(target)] as const
  await Promise.all(listeners.map((one) => one.heard()))
  if (isTooLate) throw tooLate()
  isListening = true
  // Before anything is copied: who goes on from here must hear what ended since.
  if (place === null) await save({ cursors: heardUpTo(), clients: [] })

  function listen(where: Where) {
    return listener({
      feed: sides[where].feed,
      since: place?.cursors[where] ?? null,
      signal,
      trouble,
      missed() {
        isTooLate ||= !isListening && place !== null
        doubt()
      },
      async hear(notices) {
        for (const notice of notices) await hear(where, notice)
      },
    })
  }

  async function hear(where: Where, notice: Notice): Promise<void> {
    const other = opposite(where)
    // From before a move that begins now: the target can't have heard of these sessions, and what ended there was none of the source's.
    const isPast = !isListening && place === null
    switch (notice.kind) {
      case 'ended': {
        if (isPast && where === target) return
        const ids = notice.ids.filter((id) => !ended.has(id))
        for (const id of ids) ended.set(id, performance.now())
        if (ids.length > 0 && !isPast) await insist(() => endThere(other, { ...notice, ids }))
        return
      }
      case 'changed': {
        if (isPast || told.has(changeOf(notice.id, notice.epoch))) return
        await insist(() => sessions.update(notice.id))
        await insist(() => tellChanged(other, notice.id, notice.epoch))
        return
      }
      case 'keys':
        if (!isPast) await insist(() => Promise.all([...clients.ids()].map((id) => clients.update(id))))
    }
  }

  /** Published, then deleted, as every ending is. On the other side whoever ended it deletes it, and learns that it was there. */
  async function endThere(where: Where, notice: Extract<Notice, { kind: 'ended' }>): Promise<void> {
    for (const id of notice.ids) ended.set(id, performance.now())
    await sides[where].feed?.publish(notice)
    endedCount += (await sides[where].sessions.delete(notice.ids)).length
  }

  async function tellChanged(where: Where, id: string, epoch: number): Promise<void> {
    if (told.has(changeOf(id, epoch))) return
    await sides[where].feed?.publish({ kind: 'changed', id, epoch })
    told.set(changeOf(id, epoch), true)
  }

  /** A notice that was heard is carried out, however long that takes. */
  async function insist(work: () => Promise<unknown>): Promise<void> {
    while (!signal.aborted) {
      try {
        await work()
        return
      } catch (error) {
        trouble(error)
        await sleep(retryMs, undefined, { signal }).catch(() => {})
      }
    }
  }

  function doubt(): void {
    sessions.forget()
    clients.forget()
  }

  async function heardAndWhole(): Promise<void> {
    await Promise.all(listeners.map((one) => one.heard()))
    for (const where of [source, target]) {
      if (await isMarked(sides[where].clients, names[where])) continue
      doubt()
      await restoreName(sides[where].clients, names[where])
    }
  }

  function heardUpTo(): Place['cursors'] {
    return [listeners[source].cursor, listeners[target].cursor]
  }

  async function save(reached: Place): Promise<void> {
    if (saved === JSON.stringify(reached)) return
    await writePlace(to.clients, names[source], reached)
    saved = JSON.stringify(reached)
  }

  async function pass(): Promise<Passed> {
    ended.age()
    told.age()
    const cursors = heardUpTo()
    const [config, { failed, error }] = [await clients.pass(), await sessions.pass()]
    const passed = { failed: failed + config.failed, error: config.error ?? error }
    if (passed.failed === 0) await save({ cursors, clients: [...clients.ids()] })
    return passed
  }

  return {
    resumed: place !== null,
    counts: sessions.counts,
    get ended() {
      return endedCount
    },
    get clients() {
      const { copied, copiedBack, changed } = clients.counts
      return copied + copiedBack + changed + removed
    },
    pass,
    doubt,
  }
}

interface Recent<T> {
  get(key: string): T | undefined
  has(key: string): boolean
  set(key: string, value: T): void
  /** Forgets what was not set since the last time but one. */
  age(): void
}

/** Of this pass and the one before: nothing that was read before is still on its way after that. */
function recent<T>(): Recent<T> {
  let [now, before] = [new Map<string, T>(), new Map<string, T>()]
  return {
    get: (key) => now.get(key) ?? before.get(key),
    has: (key) => now.has(key) || before.has(key),
    set: (key, value) => void now.set(key, value),
    age() {
      ;[now, before] = [new Map(), now]
    },
  }
}

function changeOf(id: string, epoch: number): string {
  return `${id} ${epoch}`
}

function tooLate(): StartError {
  return new StartError(
    'the move was interrupted for so long, or an engine failed over meanwhile, that what ended since is not known: if no process uses the target yet, start again with --replace; else see "Interrupted for too long" in docs/guide/moving.md',
  )
}
