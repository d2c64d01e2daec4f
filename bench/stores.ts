// `npm run bench:stores`: what each store costs beside its engine's own client, which gets and sets the same bytes without a condition.
// And how many starts and endings a second. One process on one core. Options: --only redis --rounds 9 --seconds 0.5 --write
import { parseArgs } from 'node:util'
import type { SessionRecord } from 'holdfast'
import { engines, type Engine } from './harness/engines.ts'
import { pin, serverCore } from './harness/machine.ts'
import { recordMaker, updated } from './harness/records.ts'
import { heading, median, provenance, publish, round, save, saved, shuffled, table } from './harness/report.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '0.5' },
    write: { type: 'boolean', default: false },
  },
})
const options = { rounds: Number(values.rounds), seconds: Number(values.seconds), inFlight: 64 }
/** Of the store, and as many of the client. Few: who writes to a session has just read it, and a store may remember that. */
const sessionCount = 512
const only = values.only?.flatMap((names) => names.split(','))

interface Rate {
  readonly perSecond: number
  /** CPU time of this process, in µs. */
  readonly cpuUs: number
}
interface Pair {
  readonly store: Rate
  /** The engine's own client; `null` where there is none. */
  readonly client: Rate | null
}
interface Measured {
  readonly engine: string
  readonly version: string
  readonly date: string
  readonly reads: readonly Pair[]
  readonly writes: readonly Pair[]
  readonly starts: readonly Rate[]
  readonly endings: readonly Rate[]
}

pin(process.pid, serverCore)
const about = heading(null)
const results = new Map((saved('stores') as { engines: Measured[] } | null)?.engines.map((r) => [r.engine, r]))
for (const [name, start] of Object.entries(engines)) {
  if (only !== undefined && !only.includes(name)) continue
  await using engine = await start(Date)
  const measured = await measure(engine)
  results.set(name, { engine: name, version: engine.version, date: about.date, ...measured })
  console.log(`${name}: ${measured.writes.length} rounds`)
}
const rows = Object.keys(engines).flatMap((name) => results.get(name) ?? [])
show('stores', ratesTable(rows))
show('stores-clients', clientsTable(rows))
save('stores', { ...about, options, engines: rows })

function show(name: string, markdown: string): void {
  const text = `${markdown}\n\n${provenance(about)}; ${options.inFlight} calls in flight.`
  console.log(`\n${text}`)
  if (values.write) publish(name, text)
}

/** Every round measures store and client one right after the other, in a random order. */
async function measure({ store, plain }: Engine): Promise<Omit<Measured, 'engine' | 'version' | 'date'>> {
  const make = recordMaker()
  const records: SessionRecord[] = []
  for (let n = 0; n < 2 * sessionCount; n++) {
    const record = await make(n, 1)
    await store.put(record, null)
    records.push(record)
  }
  const theirs = records.splice(sessionCount).map(({ id }) => id)
  const stored = plain === null ? [] : await Promise.all(theirs.map((id) => plain.get(id)))
  if (stored.some((what) => what === undefined || what === null)) throw new Error('the client does not find a session')

  const calls = {
    reads: {
      async store(i: number) {
        if ((await store.get(records[i]!.id)) === null) throw new Error('a session is gone')
      },
      client: plain && ((i: number) => plain.get(theirs[i]!)),
    },
    writes: {
      async store(i: number) {
        const record = updated(records[i]!)
        if (!(await store.put(record, record.version - 1))) throw new Error('a write without a rival had a conflict')
        records[i] = record
      },
      client: plain && ((i: number) => plain.set(theirs[i]!, stored[i] as never)),
    },
  }
  const pairs = { reads: [] as Pair[], writes: [] as Pair[] }
  const once = { starts: [] as Rate[], endings: [] as Rate[] }
  for (let n = -1; n < options.rounds; n++) {
    for (const kind of ['reads', 'writes'] as const) {
      const rates = { store: null as Rate | null, client: null as Rate | null }
      for (const side of shuffled(['store', 'client'] as const)) {
        const call = calls[kind][side]
        if (call !== null) rates[side] = await rate(call)
      }
      // The first round warms up.
      if (n >= 0) pairs[kind].push({ store: rates.store!, client: rates.client })
    }
    const fresh = await Promise.all(Array.from({ length: sessionCount }, (_, i) => make(i, 1)))
    const starts = await rate((i) => store.put(fresh[i]!, null), { once: true })
    const endings = await rate((i) => store.delete([fresh[i]!.id]), { once: true })
    if (n >= 0) once.starts.push(starts)
    if (n >= 0) once.endings.push(endings)
  }
  return { ...pairs, ...once }
}

/** As many calls in flight as the options say, each on sessions of its own, until time is up; with `once` until each session had its turn. */
async function rate(call: (i: number) => Promise<unknown>, o: { once?: boolean } = {}): Promise<Rate> {
  const { seconds, inFlight } = options
  const cpuBefore = process.cpuUsage()
  const startedAt = performance.now()
  const isOver = (n: number) => (o.once ? n >= sessionCount : performance.now() - startedAt >= seconds * 1000)
  let calls = 0
  const worker = async (first: number) => {
    for (let n = first; !isOver(n); n += inFlight) {
      await call(n % sessionCount)
      calls++
    }
  }
  await Promise.all(Array.from({ length: inFlight }, (_, i) => worker(i)))
  const took = (performance.now() - startedAt) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  return { perSecond: round(calls / took, 0), cpuUs: round((user + system) / calls, 2) }
}

function ratesTable(rows: readonly Measured[]): string {
  const bytes = new Map((saved('scale') as { stores: Scaled[] } | null)?.stores.map((s) => [s.store, s.bytes?.loaded]))
  return table(
    ['', 'reads/s', 'writes/s', 'starts/s', 'endings/s', 'bytes per session'],
    rows.map(({ engine, version, reads, writes, starts, endings }) => [
      `${engine} ${version}`,
      ...[reads, writes].map((pairs) => perSecond(pairs.map(({ store }) => store))),
      ...[starts, endings].map(perSecond),
      bytes.get(engine)?.toFixed(0) ?? '–',
    ]),
  )
}
/** Of the results of `scale.ts`. */
interface Scaled {
  readonly store: string
  readonly bytes: { readonly loaded: number } | null
}

function clientsTable(rows: readonly Measured[]): string {
  const header = (kind: string, plain: string) => [`${kind}, of the client's ${plain}`, 'CPU µs (the client)']
  return table(
    ['', ...header('reads', 'get'), ...header('writes', 'set')],
    rows.flatMap(({ engine, reads, writes }) => {
      const cells = [...beside(reads), ...beside(writes)]
      return cells.length === 0 ? [] : [[engine, ...cells]]
    }),
  )
}

/** The median of the rounds, their spread, and CPU time; nothing where there is no client. */
function beside(pairs: readonly Pair[]): readonly string[] {
  const both = pairs.flatMap(({ store, client }) => (client === null ? [] : [{ store, client }]))
  if (both.length === 0) return []
  const ratios = both.map(({ store, client }) => store.perSecond / client.perSecond)
  const percent = (ratio: number) => (100 * ratio).toFixed(0)
  const cpu = (side: 'store' | 'client') => median(both.map((pair) => pair[side].cpuUs)).toFixed(1)
  const spread = `${percent(Math.min(...ratios))}–${percent(Math.max(...ratios))}`
  return [`${percent(median(ratios))} % (${spread})`, `${cpu('store')} (${cpu('client')})`]
}

function perSecond(rates: readonly Rate[]): string {
  return median(rates.map((rate) => rate.perSecond)).toLocaleString('en')
}
