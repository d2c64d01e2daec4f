// One run: the system is started, used and broken in turn, and its history checked.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bug } from './bugs.ts'
import { check, type Report, type Rule } from './checker.ts'
import { faultsOf, type FaultPlan } from './fault-list.ts'
import { clock, readHistory, recorder, watchForStalls, type Recorder } from './history.ts'
import { boundMs } from './node-sessions.ts'
import { randomOf, shuffled } from './random.ts'
import { startTopology, type Topology, type TopologyOptions } from './topology.ts'
import { workload, type Workload } from './workload.ts'

export interface TrialOptions extends Pick<TopologyOptions, 'redis' | 'direct' | 'services' | 'connected' | 'seed'> {
  /** How long things are broken in turn. Each kind of fault comes at least once. */
  readonly seconds: number
  readonly bug?: Bug | undefined
  /** The kinds of faults, by name. Default: all that the topology allows. */
  readonly only?: readonly string[] | undefined
  /** Ends the run as soon as this rule is found broken. */
  readonly until?: Rule | undefined
  /** The usual length of a fault, of the recovery after it and of the calm before the next, in ms. */
  readonly rhythm: { readonly holdMs: number; readonly recoverMs: number; readonly calmMs: number }
  /** In each fault, or within the bound before it. A machine that is slow is waited for, to a limit. */
  readonly leastEndings: number
  readonly say?: ((line: string) => void) | undefined
  /** The history stays in this folder. Default: it is removed. */
  readonly keepIn?: string | undefined
}

const warmUpMs = 1_500
/** What was asked last is answered by then, or never. */
const drainMs = 4_000
/** How long it may take until there are as many endings as are wanted, and one more, since not each is tried again. */
const endingsWithinMs = 15_000
export const refreshWindowMs = 10_000

export async function trial(o: TrialOptions): Promise<Report> {
  const historyFolder = o.keepIn ?? mkdtempSync(join(tmpdir(), 'holdfast-history-'))
  const random = randomOf(o.seed)
  const write = recorder(historyFolder, 'driver')
  /** Id → when its ending was answered. */
  const endings = new Map<string, number>()
  const record: Recorder = (entry) => {
    write(entry)
    if (entry.kind === 'end' && entry.done) for (const id of entry.ids) endings.set(id, endings.get(id) ?? entry.ended)
  }
  const stopWatching = watchForStalls(record, 'driver')
  let people: Workload | null = null
  const known = () => people?.known() ?? []
  const topology = await startTopology({ ...o, bug: o.bug ?? null, historyFolder, known })
  const judge = () => check(readHistory(historyFolder), { boundMs, refreshWindowMs, leastEndings: o.leastEndings })
  try {
    const nodes = [...topology.direct, ...topology.connected]
    people = workload({ nodes: () => nodes, record, random, signedShare: 0.4 })
    await sleep(warmUpMs)
    await breakInTurn(topology)
    await people.stop(drainMs)
    return judge()
  } finally {
    await people?.stop(0)
    await topology.stop()
    stopWatching()
    if (o.keepIn === undefined) rmSync(historyFolder, { recursive: true })
  }

  async function breakInTurn(topology: Topology): Promise<void> {
    const until = clock() + o.seconds * 1_000
    for (let round = 1; round === 1 || clock() < until; round++) {
      for (const plan of shuffled(random, faultsOf(topology, random))) {
        if (o.only?.includes(plan.name) === false) continue
        if (round > 1 && clock() >= until) return
        await breakOnce(plan)
        if (o.until !== undefined && judge().violations.some(({ rule }) => rule === o.until)) return
      }
    }
  }

  async function breakOnce(plan: FaultPlan): Promise<void> {
    const { holdMs, recoverMs, calmMs } = o.rhythm
    await sleep(calmMs)
    // Before it, since in some faults there can be none.
    await enoughEndings(() => clock() - 0.9 * boundMs)
    const began = clock()
    await plan.begin()
    await sleep(holdMs * plan.lasts)
    await enoughEndings(() => began - boundMs)
    await plan.end()
    const ended = clock()
    await sleep(recoverMs * (plan.loses ? 2 : 1))
    const { name, target, loses } = plan
    record({ kind: 'fault', name, target, loses, began, ended, recoveredAt: clock() })
    o.say?.(`${name} (${target}): ${(ended - began).toFixed(0)} ms`)
  }

  async function enoughEndings(since: () => number): Promise<void> {
    const giveUpAt = clock() + endingsWithinMs
    const count = () => [...endings.values()].filter((at) => at >= since()).length
    while (count() <= o.leastEndings && clock() < giveUpAt) await sleep(20)
  }
}
