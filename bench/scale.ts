// Up to a million sessions: bytes of each in Redis, beside connect-redis with the same content, and what calls cost as they grow.
// Options: --part bytes|calls --sessions 1000000 --stores redis,sqlite,memory --write
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import { createSessions, type SessionRecord, type Store } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'
import { redisStore } from 'holdfast/stores/redis'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { createClient } from 'redis'
import { withoutTimeout } from './harness/contender.ts'
import { pin, serverCore } from './harness/machine.ts'
import { address, amr, person, roles, userAgent } from './harness/person.ts'
import { benchRedis, type BenchRedis } from './harness/redis.ts'
import { heading, provenance, publish, quantile, round, save, table } from './harness/report.ts'

const { values } = parseArgs({
  options: {
    part: { type: 'string', multiple: true, default: ['bytes', 'calls'] },
    sessions: { type: 'string', default: '1000000' },
    stores: { type: 'string', default: 'redis,sqlite,memory' },
    write: { type: 'boolean', default: false },
  },
})
const most = Number(values.sessions)
const sizes = [1000, 10_000, 100_000, 1_000_000].filter((size) => size <= most)
const atOnce = 64
const hour = { type: 'EX', value: 3600 } as const
const callNames = ['create', 'read', 'update', 'list'] as const
type CallName = (typeof callNames)[number]
const perUser = 4
const sample = 1000
/** Of the sessions that are in the store, by number. */
const ids: string[] = []

/** Makes records exactly as `start` does. */
const maker = recordMaker()

pin(process.pid, serverCore)
console.log(`up to ${most.toLocaleString('en')} sessions: about ${Math.ceil(most / 130_000) + 1} minutes\n`)
const redis = await benchRedis()
try {
  const about = heading(redis.version)
  const bytes = values.part.includes('bytes') ? await measureBytes(redis) : null
  const calls = values.part.includes('calls') ? await measureCalls(values.stores.split(',')) : null
  if (bytes !== null)
    show('bytes', `${bytesTable(bytes)}\n\n${most.toLocaleString('en')} sessions; ${provenance(about)}.`)
  if (calls !== null) show('calls', `${callsTable(calls)}\n\n${provenance(about)}.`)
  if (bytes !== null && calls !== null && most === 1_000_000) save('scale', { ...about, sessions: most, bytes, calls })
} finally {
  await redis.stop()
}

function show(name: string, text: string): void {
  console.log(`\n${text}`)
  if (values.write) publish(name, text)
}

// Bytes

interface Bytes {
  readonly name: string
  readonly bytesPerSession: number
}

async function measureBytes(redis: BenchRedis): Promise<readonly Bytes[]> {
  const client = await connect(redis.url)
  const store = redisStore(client)
  const theirs = connectRedisStore(client)
  const put = (perUser: number) => async (n: number) => void (await store.put(await maker(n, perUser), null))
  const layouts: readonly (readonly [string, (n: number) => Promise<void>])[] = [
    ['Holdfast, one session per user', put(1)],
    ['Holdfast, four sessions per user', put(4)],
    ['connect-redis, the same content without index and credential', (n) => theirs(n)],
    ['an empty key with expiry', async (n) => void (await client.set(sessionId(n), '', { expiration: hour }))],
  ]
  const results: Bytes[] = []
  for (const [name, add] of layouts) {
    await redis.empty()
    const before = await redis.usedMemory()
    await inBatches(0, most, add)
    const bytesPerSession = round(((await redis.usedMemory()) - before) / most, 1)
    console.log(`${name}: ${bytesPerSession} bytes`)
    results.push({ name, bytesPerSession })
  }
  client.destroy()
  return results
}

/** As long as the ids of connect-redis's sessions with its default prefix, and as those of Holdfast. */
function sessionId(n: number): string {
  return `hf:s:${String(n).padStart(22, '0')}`
}

/** Their session of the same user with the same roles, device and data. */
function connectRedisStore(client: object): (n: number) => Promise<void> {
  const require = createRequire(import.meta.url)
  const { RedisStore } = require('connect-redis') as { RedisStore: new (o: object) => TheirStore }
  const theirs = new RedisStore({ client })
  const originalMaxAge = 30 * 60_000
  return (n) => {
    const { userId, data } = person(n)
    const cookie = {
      originalMaxAge,
      expires: new Date(Date.now() + originalMaxAge),
      httpOnly: true,
      secure: true,
      sameSite: 'lax',
      path: '/',
    }
    const device = { browser: 'Chrome 140', system: 'Windows', address }
    return theirs.set(String(n).padStart(32, '0'), { cookie, userId, roles, amr, device, data: { profile: data } })
  }
}
interface TheirStore {
  set(id: string, session: object): Promise<void>
}

function bytesTable(results: readonly Bytes[]): string {
  return table(
    ['', 'bytes per session'],
    results.map(({ name, bytesPerSession }) => [name, bytesPerSession.toFixed(0)]),
  )
}

// Calls

interface Calls {
  readonly store: string
  readonly sessions: number
  readonly call: CallName
  /** One call after the other, in µs. */
  readonly medianUs: number
  readonly p99Us: number
  /** With 64 under way, in µs of time per call. */
  readonly pipelinedMedianUs: number
  readonly pipelinedP99Us: number
}

async function measureCalls(names: readonly string[]): Promise<readonly Calls[]> {
  const results: Calls[] = []
  for (const name of names) {
    await using opened = await openStore(name)
    let filled = 0
    for (const size of sizes) {
      await inBatches(filled, size, async (n) => void (await opened.store.put(await maker(n, perUser), null)))
      filled = size
      for (const call of callNames) {
        const measured = { store: name, sessions: size, call, ...(await measureCall(opened.store, call, size)) }
        results.push(measured)
        console.log(`${name} ${size} ${call}: ${measured.medianUs} µs, pipelined ${measured.pipelinedMedianUs} µs`)
      }
    }
  }
  return results
}

async function measureCall(
  store: Store,
  call: CallName,
  size: number,
): Promise<Omit<Calls, 'store' | 'sessions' | 'call'>> {
  const alone: number[] = []
  const together: number[] = []
  const created: string[] = []
  await repeat(200, () => prepare())
  await repeat(sample, async () => {
    const make = await prepare()
    const startedAt = performance.now()
    await make()
    alone.push((performance.now() - startedAt) * 1000)
  })
  await repeat(Math.ceil(sample / 10), async () => {
    const makes: (() => Promise<unknown>)[] = []
    await repeat(atOnce, async () => void makes.push(await prepare()))
    const startedAt = performance.now()
    await Promise.all(makes.map((make) => make()))
    together.push(((performance.now() - startedAt) * 1000) / atOnce)
  })
  for (let at = 0; at < created.length; at += 500) await store.delete(created.slice(at, at + 500))
  return {
    medianUs: round(quantile(alone, 0.5), 2),
    p99Us: round(quantile(alone, 0.99), 2),
    pipelinedMedianUs: round(quantile(together, 0.5), 2),
    pipelinedP99Us: round(quantile(together, 0.99), 2),
  }

  /** What does not belong to the call happens before it. */
  async function prepare(): Promise<() => Promise<unknown>> {
    const n = Math.floor(Math.random() * size)
    if (call === 'read') return () => store.get(ids[n]!)
    if (call === 'list') return () => store.listByUser(userOf(n, perUser))
    if (call === 'update') {
      const record = (await store.get(ids[n]!))!
      return () => store.put({ ...record, seenAt: Date.now(), version: record.version + 1 }, record.version)
    }
    const record = await maker(n, perUser, false)
    created.push(record.id)
    return () => store.put(record, null)
  }
}

async function openStore(name: string): Promise<{ store: Store } & AsyncDisposable> {
  ids.length = 0
  if (name === 'memory') return { store: memoryStore(), [Symbol.asyncDispose]: async () => {} }
  if (name === 'sqlite') {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-scale-'))
    const database = new DatabaseSync(join(folder, 'sessions.db'))
    return {
      store: sqliteStore(database),
      async [Symbol.asyncDispose]() {
        database.close()
        rmSync(folder, { recursive: true })
      },
    }
  }
  await redis.empty()
  const client = await connect(redis.url)
  return { store: redisStore(client), [Symbol.asyncDispose]: async () => client.destroy() }
}

/** A row per call, a column per size, and how much the largest costs over 10,000. */
function callsTable(results: readonly Calls[]): string {
  const rows = [...new Set(results.map(({ store, call }) => `${store} ${call}`))].map((row) => {
    const [store, call] = row.split(' ')
    const of = (size: number) => results.find((r) => r.store === store && r.call === call && r.sessions === size)
    const cells = sizes.map((size) => {
      const { medianUs, p99Us, pipelinedMedianUs } = of(size)!
      return `${medianUs.toFixed(1)} / ${p99Us.toFixed(0)} / ${pipelinedMedianUs.toFixed(1)}`
    })
    const [small, large] = [of(10_000), of(sizes.at(-1)!)]
    const ratio = small === undefined ? '–' : (large!.medianUs / small.medianUs).toFixed(2)
    return [row, ...cells, ratio]
  })
  return table(
    ['µs: median / p99 / pipelined', ...sizes.map((size) => size.toLocaleString('en')), 'largest over 10,000'],
    rows,
  )
}

// Both

function userOf(n: number, perUser: number): string {
  return person(Math.floor(n / perUser)).userId
}

function recordMaker(): (n: number, perUser: number, remembered?: boolean) => Promise<SessionRecord> {
  const made = new Map<string, SessionRecord>()
  const store: Store = {
    ...memoryStore(),
    async put(record) {
      made.set(record.id, record)
      return true
    },
  }
  const sessions = createSessions({ store })
  return async (n, perUser, remembered = true) => {
    const data = { profile: person(n).data }
    const { session } = await sessions.start(userOf(n, perUser), { roles, amr, userAgent, address, data })
    const record = made.get(session.id!)!
    made.delete(record.id)
    if (remembered) ids[n] = record.id
    return record
  }
}

async function inBatches(from: number, to: number, add: (n: number) => Promise<void>): Promise<void> {
  for (let n = from; n < to; n += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, to - n) }, (_, i) => add(n + i)))
  }
}

async function repeat(times: number, step: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < times; i++) await step()
}

async function connect(url: string) {
  const client = createClient({ url, ...withoutTimeout })
  client.on('error', (error: unknown) => {
    throw error
  })
  await Promise.all([once(client, 'ready'), client.connect()])
  return client
}
