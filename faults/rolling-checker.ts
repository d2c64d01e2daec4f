// The checker of rolling restarts: what must hold for every user, whatever was restarted or killed. Pure.
import type { Stall } from './history.ts'
import type { Probed, RollingEntry, Strike, Used } from './rolling-history.ts'

export interface RollingRules {
  /** `maxStaleness` of every instance. */
  readonly boundMs: number
  /** How far what a user reads may be behind what was acknowledged: `maxAge` of `nearCache`. */
  readonly lagMs: number
}

export type RollingRule =
  | 'signed out'
  | 'somebody else'
  | 'acknowledged change lost'
  | 'change made twice'
  | 'request failed'
  | 'waited for who was gone'
  | 'accepted past the bound'

export interface RollingReport {
  readonly violations: readonly { readonly rule: RollingRule; readonly what: string }[]
  /** Why the run proves nothing; empty when it does. */
  readonly voids: readonly string[]
  readonly strikes: readonly StrikeReport[]
  readonly counts: Readonly<Record<string, number>>
}

export interface StrikeReport {
  readonly name: string
  readonly times: number
  /** Until it was over for the users, at most. */
  readonly recoveredMs: number
  /** Requests that failed by it. */
  readonly failed: number
  /** Users who were on its target just before. */
  readonly struck: number
}

/** Circuits that a machine without CPU opened are closed again by then. */
const afterStallMs = 1_500
const justBeforeMs = 3_000

export function checkRolling(history: readonly RollingEntry[], { boundMs, lagMs }: RollingRules): RollingReport {
  const strikes = history.filter((entry): entry is Strike => entry.kind === 'fault')
  const stalls = history.filter((entry): entry is Stall => entry.kind === 'stall')
  const used = history.filter((entry): entry is Used => entry.kind === 'used')
  const probed = history.filter((entry): entry is Probed => entry.kind === 'probed')
  const violations: { rule: RollingRule; what: string }[] = []
  const broken = (rule: RollingRule, { user, began }: Used | Probed, what: string) =>
    void violations.push({ rule, what: `${user} at ${began.toFixed(0)}: ${what}` })
  const counts = {
    requests: used.length,
    failed: 0,
    added: 0,
    users: 0,
    moved: 0,
    endings: 0,
    lastAcceptMs: 0,
    stalls: stalls.length,
  }

  const probesOf = Map.groupBy(probed, ({ user }) => user)
  for (const [user, requests] of Map.groupBy(used, ({ user }) => user)) {
    counts.users++
    checkUser(requests)
    checkEnding(requests, probesOf.get(user) ?? [])
    const isElsewhere = ({ what, to, seen }: Used) => what !== 'aside' && to !== null && seen !== null && seen.by !== to
    if (requests.some(isElsewhere)) counts.moved++
  }
  const reports = [...Map.groupBy(strikes, ({ name }) => name)].map(([name, all]) => reportOf(name, all))
  return { violations, voids: voids(), strikes: reports, counts }

  function checkUser(requests: readonly Used[]): void {
    const endBegan = Math.min(...requests.filter(({ what }) => what === 'end').map(({ began }) => began))
    const acknowledged: Used[] = []
    for (const request of requests) {
      const { what, item, seen } = request
      if (seen === null) {
        counts.failed++
        if (!mayFail(request)) broken('request failed', request, `${what} by ${request.to}: ${request.why}`)
        continue
      }
      const gone = strikes.some((strike) => strike.excuses === 'under way' && isAway(strike, request))
      if (gone) broken('waited for who was gone', request, `${what} by ${seen.by}`)
      if (request.ended < endBegan) checkSeen(request, acknowledged)
      if (what === 'add' && item !== null) acknowledged.push(request)
    }
    counts.added += acknowledged.length
  }

  function checkSeen(request: Used, acknowledged: readonly Used[]): void {
    const { what, user, item, began, seen } = request
    const { userId, cart, by } = seen!
    if (userId === null) return broken('signed out', request, `${what} by ${by}: ${request.why}`)
    const foreign = cart?.find((entry) => !entry.startsWith(`${user}:`))
    if (userId !== user || foreign !== undefined) broken('somebody else', request, `${userId}, ${foreign}`)
    if (cart === null) return
    if (new Set(cart).size < cart.length) broken('change made twice', request, cart.join())
    // A change is made to what is stored, never to a copy.
    const behindMs = what === 'add' ? 0 : lagMs
    const due = acknowledged.filter(({ ended }) => ended + behindMs <= began).map((added) => added.item!)
    const lost = [...due, ...(what === 'add' ? [item!] : [])].filter((entry) => !cart.includes(entry))
    if (lost.length > 0) broken('acknowledged change lost', request, `${what} by ${by}: without ${lost.join()}`)
  }

  function checkEnding(requests: readonly Used[], probes: readonly Probed[]): void {
    const answered = requests.find(({ what, seen }) => what === 'end' && seen !== null)?.ended ?? Infinity
    if (probes.some(({ accepted, began }) => accepted !== null && began > answered + boundMs)) counts.endings++
    for (const probe of probes) {
      if (probe.accepted !== true) continue
      const lateMs = probe.began - answered
      counts.lastAcceptMs = Math.max(counts.lastAcceptMs, Math.round(lateMs))
      if (lateMs > boundMs) broken('accepted past the bound', probe, `by ${probe.by}, ${lateMs.toFixed(0)} ms later`)
    }
  }

  function mayFail(request: Used): boolean {
    return (
      strikes.some((strike) => excuses(strike, request)) ||
      stalls.some(({ began, ended }) => request.began <= ended + afterStallMs && request.ended >= began)
    )
  }

  function reportOf(name: string, all: readonly Strike[]): StrikeReport {
    return {
      name,
      times: all.length,
      recoveredMs: Math.max(...all.map(({ began, recoveredAt }) => Math.round(recoveredAt - began))),
      failed: used.filter((request) => request.seen === null && all.some((strike) => overlap(strike, request))).length,
      struck: all.reduce((sum, strike) => sum + struckBy(strike), 0),
    }
  }

  function struckBy({ target, began }: Strike): number {
    const before = used.filter(({ ended, what }) => what !== 'aside' && ended > began - justBeforeMs && ended <= began)
    const there = before.filter(({ seen }) => seen !== null && (seen.by === null || seen.by === target))
    return new Set(there.map(({ user }) => user)).size
  }

  function voids(): string[] {
    return [
      ...(counts.endings === 0 ? ['no ending was probed past the bound'] : []),
      ...strikes
        .filter((strike) => strike.excuses !== 'anybody' && struckBy(strike) === 0)
        .map(({ name, target }) => `${name}: nobody used ${target}`),
    ]
  }
}

function excuses(strike: Strike, request: Used): boolean {
  if (strike.excuses === 'nobody' || !overlap(strike, request)) return false
  return strike.excuses === 'anybody' || request.to === null || request.to === strike.target
}

function isAway({ target, recoveredAt, ended }: Strike, { began, seen }: Used): boolean {
  return began > recoveredAt && began < ended && seen!.by === target
}

function overlap(strike: Strike, { began, ended }: Used): boolean {
  return began <= strike.recoveredAt && ended >= strike.began
}

export function shownRolling({ violations, voids, strikes, counts }: RollingReport): string {
  return [
    ...strikes.map(
      ({ name, times, struck, failed, recoveredMs }) =>
        `${name}: ${times} times, ${struck} users struck, ${failed} requests failed, over after ${recoveredMs} ms`,
    ),
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', '),
    ...violations.slice(0, 20).map(({ rule, what }) => `✖ ${rule}: ${what}`),
    ...voids.map((why) => `✖ void: ${why}`),
    violations.length + voids.length === 0 ? '✔ everything held' : `✖ ${violations.length} violations`,
  ].join('\n')
}
