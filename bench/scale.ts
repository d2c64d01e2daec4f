// `npm run bench:scale`: what the calls of each store cost as sessions grow to a million, what a session takes in its engine, and in Redis
// beside connect-redis. One engine at a time. Options: --part calls|bytes --only redis,postgres --sessions 1000000 --write
import assert from 'node:assert/strict'
import { parseArgs } from 'node:util'
import type { SessionRecord, Store } from 'holdfast'
import { besideConnectRedis, type Bytes } from './harness/beside-connect-redis.ts'
import { engines, type Engine } from './harness/engines.ts'
import { pin, serverCore } from './harness/machine.ts'
import { atOnce, inBatches, recordMaker, updated, userOf } from './harness/records.ts'
import { benchRedis } from './harness/redis.ts'
import { heading, median, provenance, publish, quantile, round, save, saved, table } from './harness/report.ts'

const { values } = parseArgs({
  options: {
    part: { type: 'string', multiple: true, default: ['bytes', 'calls'] },
    only: { type: 'string', multiple: true, default: ['redis,sqlite,postgres,mysql,memory'] },
    sessions: { type: 'string', default: '1000000' },
    write: { type: 'boolean', default: false },
  },
})
const most = Number(values.sessions)
const sizes = [1000, 10_000, 100_000, 1_000_000].filter((size) => size <= most)
const only = values.only.flatMap((names) => names.split(','))
const perUser = 4
const sample = 1000
const loadedAtOnce = 500
const sweptAtOnce = 1000

const callNames = ['create', 'read', 'update', 'list'] as const
interface Cost {
  /** One call after the other, in µs. */
  readonly medianUs: number
  readonly p99Us: number
  /** With 64 under way, in µs of time per call. */
  readonly pipelinedUs: number
}
interface Grown {
  readonly sessions: number
  readonly calls: Readonly<Record<(typeof callNames)[number], Cost>>
  /** Removing a thousand that have expired, in ms; `null` where the engine expires by itself. */
  readonly sweepMs: number | null
}
interface Measured {
  readonly store: string
  readonly version: string
  readonly date: string
  readonly sizes: readonly Grown[]
  /** Per session at the largest size: as loaded, and after an update of every tenth. */
  readonly bytes: { readonly loaded: number; readonly updated: number } | null
}
interface Results {
  readonly bytes: readonly Bytes[]
  readonly stores: readonly Measured[]
}

pin(process.pid, serverCore)
/** A smaller run stands by itself. */
const before = (most === 1_000_000 ? (saved('scale') as Results | null) : null) ?? { bytes: [], stores: [] }
const stores = new Map(before.stores.map((measured) => [measured.store, measured]))
let bytes = before.bytes
let redisVersion: string | null = null
if (values.part.includes('bytes') && only.includes('redis')) {
  const redis = await benchRedis()
  redisVersion = redis.version
  bytes = await besideConnectRedis(redis, most).finally(() => redis.stop())
}
const about = heading(redisVersion)
if (values.part.includes('calls')) {
  for (const name of only) {
    stores.set(name, await measure(name))
    keep()
  }
}
keep()
const rows = inOrder()
if (bytes.length > 0) {
  show(
    'bytes',
    table(
      ['', 'bytes per session'],
      bytes.map(({ name, bytesPerSession }) => [name, bytesPerSession.toFixed(0)]),
    ),
  )
}
if (rows.length > 0) {
  show('calls', callsTable(rows))
  show('engine-bytes', bytesTable(rows))
}

/** After each engine: what took minutes is not lost with the next one. */
function keep(): void {
  if (most === 1_000_000) save('scale', { ...about, sessions: most, bytes, stores: inOrder() })
}

function inOrder(): readonly Measured[] {
  return Object.keys(engines).flatMap((name) => stores.get(name) ?? [])
}

function show(name: string, markdown: string): void {
  const text = `${markdown}\n\n${most.toLocaleString('en')} sessions; ${provenance(about)}.`
  console.log(`\n${text}`)
  if (values.write) publish(name, text)
}

async function measure(name: string): Promise<Measured> {
  let behindMs = 0
  const clock = { now: () => Date.now() - behindMs }
  const start = engines[name]
  if (start === undefined) throw new Error(`--only: one of ${Object.keys(engines).join(', ')}, not '${name}'`)
  await using engine = await start(clock)
  const { store } = engine
  const ids: string[] = []
  const make = recordMaker()
  const emptyBytes = (await engine.bytes?.()) ?? 0
  const bytesEach = async () => round((((await engine.bytes?.()) ?? 0) - emptyBytes) / most, 0)

  const grown: Grown[] = []
  let loaded = 0
  for (const size of sizes) {
    await fill(size)
    if (size === most) loaded = await bytesEach()
    const calls = {} as Record<(typeof callNames)[number], Cost>
    for (const call of callNames) calls[call] = await cost(store, ids, call)
    const sweepMs = 'sweep' in store ? await sweeping(store) : null
    grown.push({ sessions: size, calls, sweepMs })
    console.log(
      `${name} ${size}: ${callNames.map((call) => `${call} ${calls[call].medianUs} µs`).join(', ')}, sweep ${sweepMs} ms`,
    )
  }
  await inBatches(0, most / 10, async (n) => {
    const record = updated((await store.get(ids[n * 10]!))!)
    if (!(await store.put(record, record.version - 1))) throw new Error('an update without a rival had a conflict')
  })
  return {
    store: name,
    version: engine.version,
    date: new Date().toISOString(),
    sizes: grown,
    bytes: engine.bytes === null ? null : { loaded, updated: await bytesEach() },
  }

  async function fill(size: number): Promise<void> {
    const load = engine.load ?? ((records) => Promise.all(records.map((record) => store.put(record, null))))
    while (ids.length < size) {
      const from = ids.length
      const count = Math.min(loadedAtOnce, size - from)
      const records = await Promise.all(Array.from({ length: count }, (_, i) => make(from + i, perUser)))
      await load(records)
      ids.push(...records.map(({ id }) => id))
      // Loaded or put, the store must find the very same.
      assert.deepEqual({ ...(await store.get(records[0]!.id)) }, records[0])
    }
  }

  /** The median of three sweeps, in ms. */
  async function sweeping(store: Engine['store'] & { sweep(limit: number): Promise<number> }): Promise<number> {
    const took: number[] = []
    for (let i = 0; i < 3; i++) {
      // What was live a minute ago is over now, by the clock of the engine too.
      behindMs = 60_000
      await inBatches(0, sweptAtOnce, async (n) => {
        const record = await make(n, perUser)
        await store.put({ ...record, expiresAt: record.createdAt }, null)
      })
      behindMs = 0
      const startedAt = performance.now()
      if ((await store.sweep(sweptAtOnce)) !== sweptAtOnce) throw new Error('a sweep found less than what has expired')
      took.push(performance.now() - startedAt)
    }
    return round(median(took), 1)
  }

  async function cost(store: Store, ids: readonly string[], call: (typeof callNames)[number]): Promise<Cost> {
    const alone: number[] = []
    const together: number[] = []
    const created: string[] = []
    await repeat(200, prepare)
    await repeat(sample, async () => {
      const run = await prepare()
      const startedAt = performance.now()
      await run()
      alone.push((performance.now() - startedAt) * 1000)
    })
    await repeat(sample / 10, async () => {
      const runs: (() => Promise<unknown>)[] = []
      await repeat(atOnce, async () => void runs.push(await prepare()))
      const startedAt = performance.now()
      await Promise.all(runs.map((run) => run()))
      together.push(((performance.now() - startedAt) * 1000) / atOnce)
    })
    for (let at = 0; at < created.length; at += 500) await store.delete(created.slice(at, at + 500))
    return {
      medianUs: round(median(alone), 2),
      p99Us: round(quantile(alone, 0.99), 2),
      pipelinedUs: round(median(together), 2),
    }

    /** What does not belong to the call happens before it. */
    async function prepare(): Promise<() => Promise<unknown>> {
      const n = Math.floor(Math.random() * ids.length)
      if (call === 'read') return () => store.get(ids[n]!)
      if (call === 'list') return () => store.listByUser(userOf(n, perUser))
      if (call === 'update') {
        const record = updated((await store.get(ids[n]!))!)
        return () => store.put(record, record.version - 1)
      }
      const record: SessionRecord = await make(n, perUser)
      created.push(record.id)
      return () => store.put(record, null)
    }
  }
}

/** A row per call, a column per size, and how much the largest costs over 10,000. */
function callsTable(rows: readonly Measured[]): string {
  const lines = rows.flatMap(({ store, sizes }) => {
    const [small, large] = [sizes.find(({ sessions }) => sessions === 10_000), sizes.at(-1)!]
    const over = (of: (grown: Grown) => number) => (small === undefined ? '–' : (of(large) / of(small)).toFixed(2))
    const calls = callNames.map((call) => [
      `${store} ${call}`,
      ...sizes.map(({ calls }) => {
        const { medianUs, p99Us, pipelinedUs } = calls[call]
        return `${medianUs.toFixed(1)} / ${p99Us.toFixed(0)} / ${pipelinedUs.toFixed(1)}`
      }),
      over(({ calls }) => calls[call].medianUs),
    ])
    if (large.sweepMs === null) return calls
    const sweep = sizes.map(({ sweepMs }) => (sweepMs! * 1000).toFixed(0))
    return [...calls, [`${store} sweep of 1,000`, ...sweep, over(({ sweepMs }) => sweepMs!)]]
  })
  const columns = sizes.map((size) => size.toLocaleString('en'))
  return table(['µs: median / p99 / pipelined', ...columns, 'largest over 10,000'], lines)
}

function bytesTable(rows: readonly Measured[]): string {
  return table(
    ['bytes per session', 'as started', 'after an update of every tenth'],
    rows.flatMap(({ store, bytes }) => (bytes === null ? [] : [[store, String(bytes.loaded), String(bytes.updated)]])),
  )
}

async function repeat(times: number, step: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < times; i++) await step()
}
