// What a step costs, in process: CPU time per call, with as many calls in flight as a busy server has.
import { setImmediate as turn } from 'node:timers/promises'
import { shuffled } from './report.ts'

export interface Step {
  readonly name: string
  readonly run: () => unknown
  /** How often it is called in a round. */
  readonly calls: number
}

/** Every round measures every step once, in a new order. Answers ns per call of each round, by name. */
export async function costs(steps: readonly Step[], rounds: number): Promise<ReadonlyMap<string, readonly number[]>> {
  const measured = new Map<string, number[]>(steps.map(({ name }) => [name, []]))
  for (const step of steps) await nanoseconds(step)
  for (let round = 0; round < rounds; round++) {
    for (const step of shuffled(steps)) measured.get(step.name)!.push(await nanoseconds(step))
  }
  return measured
}

async function nanoseconds({ run, calls }: Step): Promise<number> {
  const inFlight = 32
  const before = process.cpuUsage()
  for (let done = 0; done < calls; done += inFlight) {
    const pending: unknown[] = []
    for (let i = 0; i < inFlight; i++) pending.push(run())
    await Promise.all(pending)
    // What runs beside it, as a feed does, must get its turn.
    if (done % 1024 === 0) await turn()
  }
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / calls
}
