// The checker: what must hold over a recorded history, whatever was broken meanwhile. Pure.
import type { Ended, Entry, Fault, Opened, Refreshed, RolesSet, Started } from './history.ts'

export interface Rules {
  /** `maxStaleness` of every process. */
  readonly boundMs: number
  /** In which the immediate predecessor of a refresh token gives the same successor. */
  readonly refreshWindowMs: number
  /** So many endings that were probed must fall into each fault; fewer make the run void. */
  readonly leastEndings: number
}

export type Rule =
  | 'accepted past the bound'
  | 'accepted after it was refused'
  | "somebody else's session"
  | 'roles that were taken away'
  | 'two successors'
  | 'signed out by an own retry'
  | 'stolen token not found'
  | 'honest request refused'
  | 'honest request failed'

export interface Violation {
  readonly rule: Rule
  readonly what: string
}

export interface FaultReport {
  readonly name: string
  readonly times: number
  /** Endings that were answered in it, or shortly before, and were tried past the bound. */
  readonly endings: number
  /** From the answer to an ending to the begin of the last request that was still accepted. 0: none was. */
  readonly maxAcceptMs: number
}

export interface Report {
  readonly violations: readonly Violation[]
  /** Why the run proves nothing; empty when it does. */
  readonly voids: readonly string[]
  readonly faults: readonly FaultReport[]
  readonly counts: Readonly<Record<string, number>>
  /** Of refreshes, by outcome; those of a thief apart. */
  readonly refreshes: Readonly<Record<string, number>>
}

/** A session, as the whole history tells of it. */
interface Life {
  readonly id: string
  readonly userId: string
  readonly started: Started
  /** From here on it may have ended. */
  endBegan: number
  /** From here on it must have: an ending was answered. */
  endAnswered: number
  readonly roles: RolesSet[]
  readonly refreshes: Refreshed[]
  readonly opens: Opened[]
}

const becauseEnded: ReadonlySet<string> = new Set(['refused: ended', 'refused: unknown'])

/** What an asynchronous replica may be behind by when it is promoted. */
const replicationLagMs = 2_000

/** Circuits that it opened are closed again by then. */
const afterStallMs = 1_500

export function check(history: readonly Entry[], rules: Rules): Report {
  const faults = history.filter((entry): entry is Fault => entry.kind === 'fault')
  const faulty = faults.map(({ began, recoveredAt }) => ({ began, over: recoveredAt }))
  const stalled = history.flatMap((entry) =>
    entry.kind === 'stall' ? [{ began: entry.began, over: entry.ended + afterStallMs }] : [],
  )
  /** In which a request may fail. */
  const windows = [...faulty, ...stalled]
  const lives = livesOf(history)
  const violations: Violation[] = []
  const lost = new Set<string>()
  const late = new Map<string, number>()
  const counts = {
    opens: 0,
    accepted: 0,
    refused: 0,
    failed: 0,
    calm: 0,
    sessions: lives.size,
    endings: 0,
    lost: 0,
    stalls: history.filter(({ kind }) => kind === 'stall').length,
  }
  const broken = (rule: Rule, what: string) => void violations.push({ rule, what })

  for (const life of lives.values()) {
    if (life.endAnswered < Infinity) counts.endings++
    checkOpens(life)
    checkRefreshes(life)
  }
  for (const entry of history) {
    const failed =
      (entry.kind === 'start' && entry.id === null) ||
      ((entry.kind === 'end' || entry.kind === 'roles') && !entry.done) ||
      (entry.kind === 'refresh' && entry.outcome === 'failed')
    if (failed && !excused(entry)) broken('honest request failed', `${entry.kind} at ${entry.node}`)
  }
  counts.lost = lost.size
  const reports = faultReports()
  return { violations, voids: voidsOf(reports), faults: reports, counts, refreshes: refreshesByOutcome(history) }

  function checkOpens(life: Life): void {
    /** Process → when it had answered that this one has ended. */
    const refusedBy = new Map<string, number>()
    for (const open of life.opens) {
      counts.opens++
      if (!within(faulty, open)) counts.calm++
      if (open.outcome === 'accepted') {
        counts.accepted++
        checkAccept(life, open, refusedBy.get(open.node) ?? Infinity)
      } else if (open.outcome === 'failed') {
        counts.failed++
        if (!excused(open)) broken('honest request failed', named(open))
      } else {
        counts.refused++
        if (open.ended >= life.endBegan) {
          if (!becauseEnded.has(open.outcome)) continue
          refusedBy.set(open.node, Math.min(open.ended, refusedBy.get(open.node) ?? Infinity))
        } else if (mayBeLost(life, open.ended)) lost.add(life.id)
        else if (!mayBeRefused(life, open)) broken('honest request refused', `${named(open)}: ${open.outcome}`)
      }
    }
  }

  function checkAccept(life: Life, open: Opened, refusedAt: number): void {
    const lateMs = open.began - life.endAnswered
    if (lateMs > 0) late.set(life.id, Math.max(lateMs, late.get(life.id) ?? 0))
    if (lateMs > rules.boundMs)
      broken('accepted past the bound', `${named(open)}: ${lateMs.toFixed(0)} ms after its end`)
    if (open.began > refusedAt) {
      broken('accepted after it was refused', `${named(open)}: ${(open.began - refusedAt).toFixed(0)} ms later`)
    }
    if (open.userId !== life.userId) broken("somebody else's session", `${named(open)}: ${open.userId}`)
    const roles = open.roles.join()
    if (rolesPossible(life, open).includes(roles)) return
    if (mayBeLost(life, open.ended)) lost.add(life.id)
    else broken('roles that were taken away', `${named(open)}: ${roles}`)
  }

  /**
   * A change holds from its begin at the earliest, until the next one was answered and the bound passed at the latest. One that was
   * not answered may be carried out whenever it arrives.
   */
  function rolesPossible({ started, roles }: Life, open: Opened): string[] {
    const changes = [{ ...started, done: true }, ...roles]
    return changes
      .filter(({ began, done }, i) => {
        const isOver = changes.slice(i + 1).some((next) => next.done && next.ended + rules.boundMs < open.began)
        return began <= open.ended && !(done && isOver)
      })
      .map(({ roles }) => roles.join())
  }

  /** A refusal that the honest holder of a live session has to expect. */
  function mayBeRefused({ started, roles }: Life, open: Opened): boolean {
    // A token that was made before roles changed is to be refreshed.
    if (open.outcome === 'refused: stale')
      return (
        started.isSigned &&
        roles.some(({ began, ended, done }) => began <= open.ended && (!done || ended >= open.issuedAt))
      )
    // By a clock that is wrong, and by keys that can't be fetched.
    return (
      ['refused: expired', 'refused: not-yet-valid', 'refused: unknown-key'].includes(open.outcome) && excused(open)
    )
  }

  function checkRefreshes(life: Life): void {
    const successors = new Map<number, Set<string>>()
    const firstBegan = new Map<number, number>()
    const stolenAt = Math.min(...life.refreshes.filter(({ stolen }) => stolen).map(({ began }) => began))
    for (const refresh of life.refreshes) {
      const { generation, outcome, successor, began, ended } = refresh
      const known = successors.get(generation) ?? new Set()
      if (successor !== null) successors.set(generation, known.add(successor))
      if (known.size > 1) lossOr(life, ended, 'two successors', `${life.id}, generation ${generation}`)
      const first = firstBegan.get(generation) ?? began
      if (!refresh.stolen) firstBegan.set(generation, first)
      const isOver = ended > life.endBegan
      if (refresh.stolen) {
        const found = outcome === 'failed' || outcome === 'refused: refresh-reused' || (isOver && outcome !== 'given')
        if (!found) lossOr(life, ended, 'stolen token not found', `${life.id}, generation ${generation}: ${outcome}`)
      } else if (outcome.startsWith('refused') && !isOver && ended < stolenAt) {
        // Beyond the window a retry may be a thief's as well.
        if (ended - first < rules.refreshWindowMs) {
          lossOr(life, ended, 'signed out by an own retry', `${life.id}, generation ${generation}: ${outcome}`)
        }
      }
    }
  }

  function lossOr(life: Life, at: number, rule: Rule, what: string): void {
    if (mayBeLost(life, at)) lost.add(life.id)
    else broken(rule, what)
  }

  /** Whether a write that was acknowledged may have been lost by a failover. What was said of an ending never may. */
  function mayBeLost({ started, roles, refreshes }: Life, at: number): boolean {
    const writes = [started, ...roles, ...refreshes]
    return faults.some(
      ({ loses, began, recoveredAt }) =>
        loses &&
        began <= at &&
        writes.some((write) => write.ended >= began - replicationLagMs && write.began <= recoveredAt),
    )
  }

  function excused(operation: Span): boolean {
    return within(windows, operation)
  }

  function faultReports(): FaultReport[] {
    const byName = Map.groupBy(faults, ({ name }) => name)
    return [...byName].map(([name, ofName]) => {
      const fallen = [...lives.values()].filter(({ endAnswered }) =>
        ofName.some(({ began, ended }) => endAnswered >= began - rules.boundMs && endAnswered <= ended),
      )
      return {
        name,
        times: ofName.length,
        endings: fallen.filter(wasProbed).length,
        maxAcceptMs: Math.max(0, ...fallen.map(({ id }) => late.get(id) ?? 0)),
      }
    })
  }

  /** An ending that nobody tried afterwards shows nothing. */
  function wasProbed({ endAnswered, opens }: Life): boolean {
    return opens.some(({ began, outcome }) => began > endAnswered + rules.boundMs && outcome !== 'failed')
  }

  function voidsOf(reports: readonly FaultReport[]): string[] {
    const few = reports
      .filter(({ endings, times }) => endings < rules.leastEndings * times)
      .map(
        ({ name, endings, times }) =>
          `${name}: only ${endings} endings in ${times} (${rules.leastEndings} each wanted)`,
      )
    return counts.calm < counts.opens / 100
      ? [...few, `only ${counts.calm} of ${counts.opens} requests were outside faults`]
      : few
  }
}

interface Span {
  readonly began: number
  readonly ended: number
}

function within(
  windows: readonly { readonly began: number; readonly over: number }[],
  { began, ended }: Span,
): boolean {
  return windows.some((window) => began <= window.over && ended >= window.began)
}

function livesOf(history: readonly Entry[]): Map<string, Life> {
  const lives = new Map<string, Life>()
  for (const entry of history) {
    if (entry.kind !== 'start' || entry.id === null) continue
    const { id, userId } = entry
    lives.set(id, {
      id,
      userId,
      started: entry,
      endBegan: Infinity,
      endAnswered: Infinity,
      roles: [],
      refreshes: [],
      opens: [],
    })
  }
  for (const entry of history) {
    if (entry.kind === 'open') lives.get(entry.id)?.opens.push(entry)
    else if (entry.kind === 'roles') for (const id of entry.ids) lives.get(id)?.roles.push(entry)
    else if (entry.kind === 'end') for (const id of entry.ids) end(lives.get(id), entry)
    else if (entry.kind === 'refresh') refresh(lives.get(entry.id), entry)
  }
  return lives
}

function end(life: Life | undefined, { began, ended, done }: Pick<Ended, 'began' | 'ended' | 'done'>): void {
  if (life === undefined) return
  life.endBegan = Math.min(life.endBegan, began)
  if (done) life.endAnswered = Math.min(life.endAnswered, ended)
}

/** A spent token that comes back ends the session, whoever brought it. */
function refresh(life: Life | undefined, entry: Refreshed): void {
  if (life === undefined) return
  life.refreshes.push(entry)
  if (entry.stolen || entry.outcome === 'refused: refresh-reused') {
    const done = entry.outcome === 'refused: refresh-reused'
    end(life, { began: entry.stolen ? entry.began : entry.ended, ended: entry.ended, done })
  }
}

function refreshesByOutcome(history: readonly Entry[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const entry of history) {
    if (entry.kind !== 'refresh') continue
    const key = `${entry.stolen ? 'stolen' : 'honest'} ${entry.outcome}`
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

function named({ id, node }: Opened): string {
  return `${id} at ${node}`
}
