// One run: users at work, instances restarted and killed one after the other, and what the users saw checked.
import { setTimeout as sleep } from 'node:timers/promises'
import { clock, watchForStalls } from './history.ts'
import { oneOf, randomOf, type Random } from './random.ts'
import { checkRolling, type RollingReport } from './rolling-checker.ts'
import type { RollingEntry, Strike } from './rolling-history.ts'
import type { Replica } from './rolling-replica.ts'
import type { System } from './rolling-systems.ts'
import { startUsers } from './rolling-users.ts'

export const steps = ['kill an instance', 'rolling restart', 'kill the leader of NATS'] as const
export type Step = (typeof steps)[number]

export interface RollingOptions {
  readonly system: System
  /** All of them in this order, again and again until the time is over. */
  readonly steps: readonly Step[]
  readonly seconds: number
  readonly users: number
  readonly seed: number
  readonly say?: (line: string) => void
}

export const boundMs = 1_000
const calmMs = 1_000
/** How long what was killed is away. */
const awayMs = 1_500
const recoversWithinMs = 60_000

export async function rollingTrial(o: RollingOptions): Promise<RollingReport> {
  const { system, users, seed } = o
  const { replicas } = system
  const random = randomOf(seed)
  const history: RollingEntry[] = []
  const record = (entry: RollingEntry) => void history.push(entry)
  const stopWatching = watchForStalls((entry) => record(entry as RollingEntry), 'driver')
  const crowd = startUsers({ frontend: system.frontend, users, seed, boundMs, instances: replicas, record })
  const until = clock() + o.seconds * 1_000
  try {
    await crowd.there
    await sleep(calmMs)
    for (let i = 0; i < o.steps.length || clock() < until; i++) {
      await take[o.steps[i % o.steps.length]!](system, random, strike)
      await sleep(calmMs)
    }
  } finally {
    await crowd.stop()
    stopWatching()
  }
  return checkRolling(history, { boundMs, lagMs: system.lagMs })

  /** `act` answers up to when requests may fail by it. */
  async function strike(name: string, target: string, excuses: Strike['excuses'], act: Act): Promise<void> {
    const began = clock()
    const recoveredAt = await act()
    record({ kind: 'fault', name, target, loses: false, began, ended: clock(), recoveredAt, excuses })
    o.say?.(`${name} (${target}): ${(recoveredAt - began).toFixed(0)} ms`)
  }
}

type Act = () => Promise<number>
type Take = (
  system: System,
  random: Random,
  strike: (name: string, target: string, excuses: Strike['excuses'], act: Act) => Promise<void>,
) => Promise<void>

const take: Readonly<Record<Step, Take>> = {
  async 'kill an instance'({ replicas, balancer }, random, strike) {
    const replica = oneOf(random, replicas)
    await strike('kill an instance', replica.name, 'under way', async () => {
      await replica.kill()
      // What begins from here on has no reason to fail, nor to wait.
      const goneAt = clock()
      await sleep(awayMs)
      return goneAt
    })
    await replica.start()
    await balancer.untilUp(replica.name)
  },

  async 'rolling restart'({ replicas, balancer }, _, strike) {
    for (const replica of replicas) {
      await strike('rolling restart', replica.name, 'nobody', async () => {
        await replica.end()
        await replica.start()
        await balancer.untilUp(replica.name)
        return clock()
      })
      await sleep(calmMs)
    }
  },

  async 'kill the leader of NATS'(system, _, strike) {
    const server = await system.leader!()
    await strike('kill the leader of NATS', server.name, 'anybody', async () => {
      await server.kill()
      await untilAllWork(system)
      return clock()
    })
    await strike('start it again', server.name, 'anybody', async () => {
      await server.restart()
      await untilAllWork(system)
      return clock()
    })
  },
}

/** Each instance does everything again. Nothing tells when; 100 ms between two tries. */
async function untilAllWork(system: System): Promise<void> {
  const until = clock() + recoversWithinMs
  for (const replica of system.replicas) {
    while (!(await works(system, replica))) {
      if (clock() > until) throw new Error(`${replica.name} did not come back`)
      await sleep(100)
    }
  }
}

async function works(system: System, replica: Replica): Promise<boolean> {
  try {
    const { device } = await system.frontendOf(replica).signIn('probe')
    await device.add('probe:1')
    await device.look()
    await device.endEverywhere()
    return true
  } catch {
    return false
  }
}
