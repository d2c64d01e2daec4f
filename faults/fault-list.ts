// Every way in which the system is broken, on targets that chance picks.
import { oneOf, type Random } from './random.ts'
import type { Topology } from './topology.ts'

export interface FaultPlan {
  readonly name: string
  readonly target: string
  /** How long it lasts, as a multiple of the usual. */
  readonly lasts: number
  readonly loses: boolean
  begin(): Promise<void> | void
  end(): Promise<void> | void
}

interface Target {
  readonly name: string
}

/** What comes back of a link that is slow: longer than a call to the store may take, shorter than a read of the feed. */
const slowMs = 750
const clockStepMs = 120_000

/** One of each kind that the topology allows, in a fixed order. */
export function faultsOf(topology: Topology, random: Random): readonly FaultPlan[] {
  const { direct, services, connected, links, redis } = topology
  const underSentinel = redis.kind === 'sentinel'
  const nodes = [...direct, ...connected]

  function fault<T extends Target>(
    name: string,
    targets: readonly T[],
    begin: (target: T) => Promise<void> | void,
    end: (target: T) => Promise<void> | void,
    o: { lasts?: number; loses?: boolean } = {},
  ): FaultPlan[] {
    if (targets.length === 0) return []
    const target = oneOf(random, targets)
    const { lasts = 1, loses = false } = o
    return [{ name, target: target.name, lasts, loses, begin: () => begin(target), end: () => end(target) }]
  }

  const engine = [{ name: redis.kind }]
  // Long enough for the sentinels to choose another master.
  const failover = { lasts: underSentinel ? 3 : 1, loses: underSentinel }
  const toRedis = links.filter(({ name }) => name.endsWith('redis'))
  const toDirect = toRedis.filter(({ name }) => name.startsWith('direct'))
  const toService = links.filter(({ name }) => !name.endsWith('redis'))

  return [
    ...fault(
      'kill verifier',
      nodes,
      (node) => node.kill(),
      (node) => node.restart(),
    ),
    ...fault(
      'pause verifier',
      nodes,
      (node) => node.pause(),
      (node) => node.resume(),
      { lasts: 1.5 },
    ),
    ...fault(
      'trim while a verifier is paused',
      direct,
      async (node) => {
        node.pause()
        // After the notices of a while, which it can't have read.
        setTimeout(() => void redis.trim().catch(() => {}), 1_000)
      },
      (node) => node.resume(),
      { lasts: 1.2 },
    ),
    ...fault(
      'kill service',
      services,
      (service) => service.kill(),
      (service) => service.restart(),
    ),
    ...fault(
      'pause service',
      services,
      (service) => service.pause(),
      (service) => service.resume(),
    ),
    ...fault(
      `kill ${redis.kind}`,
      engine,
      () => redis.kill(),
      () => redis.restart(),
      failover,
    ),
    ...fault(
      `pause ${redis.kind}`,
      engine,
      () => redis.pause(),
      () => redis.resume(),
      failover,
    ),
    ...linkFaults('redis', toRedis),
    ...linkFaults('service', toService),
    ...fault(
      'slow answers of redis',
      toDirect,
      ({ proxies }) => proxies.forEach((proxy) => proxy.delay(slowMs)),
      ({ proxies }) => proxies.forEach((proxy) => proxy.heal()),
      { lasts: 2.5 },
    ),
    ...fault(
      'duplicates and reorder',
      [{ name: 'all direct' }],
      () => disturb(true),
      () => disturb(false),
    ),
    ...fault(
      'clock stepped ahead',
      direct,
      (node) => node.tell({ type: 'clock', offsetMs: clockStepMs }),
      (node) => node.tell({ type: 'clock', offsetMs: 0 }),
    ),
    ...fault(
      'clock stepped back',
      direct,
      (node) => node.tell({ type: 'clock', offsetMs: -clockStepMs }),
      (node) => node.tell({ type: 'clock', offsetMs: 0 }),
    ),
  ]

  function disturb(on: boolean): void {
    for (const node of direct) node.tell({ type: 'disturb', on })
  }

  function linkFaults(to: string, some: Topology['links']): FaultPlan[] {
    return [
      ...fault(
        `cut link to ${to}`,
        some,
        ({ proxies }) => proxies.forEach((proxy) => proxy.cut()),
        ({ proxies }) => proxies.forEach((proxy) => proxy.heal()),
      ),
      ...fault(
        `dark link to ${to}`,
        some,
        ({ proxies }) => proxies.forEach((proxy) => proxy.blackhole()),
        ({ proxies }) => proxies.forEach((proxy) => proxy.heal()),
        { lasts: 1.5 },
      ),
    ]
  }
}
