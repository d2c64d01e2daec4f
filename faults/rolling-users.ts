// Users who sign in, fill their carts, and in the end sign out everywhere, all the time; everything is written down.
import { setTimeout as sleep } from 'node:timers/promises'
import { clock } from './history.ts'
import { oneOf, randomOf, type Random } from './random.ts'
import type { Device, Frontend } from './rolling-clients.ts'
import type { RollingEntry, Seen, Used } from './rolling-history.ts'

export interface UsersOptions {
  readonly frontend: Frontend
  /** How many are there at a time. */
  readonly users: number
  readonly seed: number
  readonly boundMs: number
  /** Every instance, with its own URL. */
  readonly instances: readonly { readonly name: string; readonly url: string }[]
  readonly record: (entry: RollingEntry) => void
}

const thinkMs = 60
const requestsAtLeast = 20
const requestsAtMost = 400
const probeEveryMs = 100
const endsAtMost = 300
/** Probes go on for so long past the bound. */
const beyondMs = 400

export interface Users {
  /** Everybody has signed in, or tried to. */
  readonly there: Promise<unknown>
  /** Resolves when everybody has signed out, and was probed. */
  stop(): Promise<void>
}

export function startUsers(o: UsersOptions): Users {
  const abort = new AbortController()
  const stopping = () => abort.signal.aborted
  const arrived = Array.from({ length: o.users }, () => Promise.withResolvers<void>())
  const all = Array.from({ length: o.users }, async (_, i) => {
    const random = randomOf(o.seed + i)
    for (let life = 1; !stopping(); life++) await live(o, `user-${i}-${life}`, random, stopping, arrived[i]!.resolve)
  })
  return {
    there: Promise.all(arrived.map(({ promise }) => promise)),
    async stop() {
      abort.abort()
      await Promise.all(all)
    },
  }
}

async function live(
  o: UsersOptions,
  user: string,
  random: Random,
  stopping: () => boolean,
  arrived: () => void,
): Promise<void> {
  let device: Device | null = null
  async function use(what: Used['what'], item: string | null, ask: () => Promise<Seen>): Promise<boolean> {
    const entry = { kind: 'used', user, what, item, to: device?.to ?? null, began: clock() } as const
    try {
      const seen = await ask()
      o.record({ ...entry, ended: clock(), seen })
      return true
    } catch (error) {
      o.record({ ...entry, ended: clock(), seen: null, why: (error as Error).message })
      return false
    }
  }

  /** At any instance. One that is away is no business of the balancer's, nor of this user's. */
  async function lookAside(): Promise<void> {
    const { name, url } = oneOf(random, o.instances)
    const began = clock()
    const seen = await device!.lookAt(url).catch(() => null)
    if (seen !== null)
      o.record({ kind: 'used', user, what: 'aside', item: null, to: name, began, ended: clock(), seen })
  }

  await use('sign in', null, async () => {
    const begun = await o.frontend.signIn(user)
    device = begun.device
    return begun.seen
  })
  arrived()
  if (device === null) return sleep(thinkMs)
  const mine = device as Device
  let requests = requestsAtLeast + Math.floor(random() * (requestsAtMost - requestsAtLeast))
  for (let i = 1; !stopping() && requests > 0; i++, requests--) {
    const chance = random()
    if (chance < 0.1) await lookAside()
    else if (chance < 0.45) {
      const item = `${user}:${i}`
      await use('add', item, () => mine.add(item))
    } else await use('look', null, () => mine.look())
    await sleep(random() * 2 * thinkMs)
  }
  await use('look', null, () => mine.look())
  await end(o, user, mine, (ask) => use('end', null, ask))
}

async function end(
  { instances, boundMs, record }: UsersOptions,
  user: string,
  device: Device,
  use: (ask: () => Promise<Seen>) => Promise<boolean>,
): Promise<void> {
  // So that each of them has it in its cache.
  await Promise.allSettled(instances.map(({ url }) => device.acceptedBy(url)))
  for (let tries = 1; !(await use(() => device.endEverywhere())); tries++) {
    // The system is not coming back; its failures are written down.
    if (tries === endsAtMost) return
    await sleep(probeEveryMs)
  }
  const until = clock() + boundMs + beyondMs
  await Promise.all(
    instances.map(async ({ name, url }) => {
      while (clock() < until) {
        const began = clock()
        const accepted = await device.acceptedBy(url).catch(() => null)
        record({ kind: 'probed', user, by: name, accepted, began, ended: clock() })
        await sleep(probeEveryMs)
      }
    }),
  )
}
