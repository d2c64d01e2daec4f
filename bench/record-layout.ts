// What a session costs in Redis, in bytes and in time, by the layout of its record: the measurement behind docs/decisions/003.
// node --conditions=source bench/record-layout.ts [sessions of the full-size run, default 1000000]
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import type { SessionRecord } from 'holdfast'
import { redisStore } from 'holdfast/stores/redis'
import { createClient } from 'redis'
import { startRedis } from '../scripts/servers/redis.ts'

const sample = 100_000
const fullSize = Number(process.argv[2] ?? 1_000_000)
const inFlight = 100
const shas = new Map<string, string>()

const server = await startRedis()
const client = createClient({ url: server.url, commandOptions: { timeout: undefined } as object })
await client.connect()
const bytesClient = client.withTypeMapping({ 36: Buffer })

interface Layout {
  readonly name: string
  /** Writes a first version. */
  readonly write: (record: SessionRecord) => Promise<unknown>
  /** Writes the next one, if the stored version is the one before. */
  readonly update: (record: SessionRecord) => Promise<unknown>
  readonly read: (id: string) => Promise<unknown>
}

const store = redisStore(client)
const layouts: readonly Layout[] = [
  hash(),
  text('JSON string', JSON.stringify, (value) => JSON.parse(value) as unknown),
  text('packed text', packText, unpackText),
  {
    name: 'packed binary (holdfast, without the index: a guest)',
    write: (record) => store.put({ ...record, userId: null }, null),
    update: (record) => store.put({ ...record, userId: null }, record.version - 1),
    read: (id) => store.get(id),
  },
  {
    name: 'packed binary (holdfast, with its user index)',
    write: (record) => store.put(record, null),
    update: (record) => store.put(record, record.version - 1),
    read: (id) => store.get(id),
  },
]

const results = []
for (const layout of layouts) {
  await client.flushAll()
  const before = await usedMemory()
  const records = Array.from({ length: sample }, (_, i) => session(i))
  const writeUs = await cpuUs(records, (record) => layout.write(record))
  const bytes = ((await usedMemory()) - before) / sample
  const someKey = String(await client.randomKey())
  const memoryUsage = Number(await client.memoryUsage(recordKey(records[0]!.id, someKey)))
  const readUs = await best(() => cpuUs(records, ({ id }) => layout.read(id)))
  let version = 1
  const updateUs = await best(async () => {
    version++
    return cpuUs(records, (record) => layout.update({ ...record, version }))
  })
  results.push({ layout: layout.name, ...rounded({ bytes, memoryUsage, readUs, writeUs, updateUs }) })
  console.log(results.at(-1))
}

// What node-redis alone takes to get the same value. In turns, so that whatever else the machine does hits all alike.
const timed = createClient({ url: server.url })
await timed.connect()
const timedStore = redisStore(timed)
const readers: Record<string, (id: string) => Promise<unknown>> = {
  bareText: (id) => client.get(`hf:s:${id}`),
  bareBytes: (id) => bytesClient.get(`hf:s:${id}`),
  store: (id) => store.get(id),
  bareTextWithTimer: (id) => timed.get(`hf:s:${id}`),
  storeOnClientWithTimer: (id) => timedStore.get(id),
}
await client.flushAll()
const records = Array.from({ length: sample }, (_, i) => session(i))
await cpuUs(records, (record) => store.put(record, null))
const reading: Record<string, number> = {}
for (let round = 0; round < 7; round++) {
  for (const [name, read] of Object.entries(readers)) {
    const us = await cpuUs(records, ({ id }) => read(id))
    reading[name] = Math.min(reading[name] ?? Infinity, Math.round(us * 100) / 100)
  }
}
timed.destroy()
console.log('µs of CPU per read', reading)

await client.flushAll()
const empty = await usedMemory()
for (let from = 0; from < fullSize; from += sample) {
  const records = Array.from({ length: Math.min(sample, fullSize - from) }, (_, i) => session(from + i))
  await cpuUs(records, (record) => store.put(record, null))
}
const total = ((await usedMemory()) - empty) / fullSize
let buckets = 0
let indexBytes = 0
for await (const page of client.scanIterator({ MATCH: 'hf:u:*', COUNT: 10_000 })) {
  buckets += page.length
  for (const size of await Promise.all(page.map((key) => client.memoryUsage(key)))) indexBytes += Number(size)
}
const full = {
  sessions: fullSize,
  users: fullSize,
  buckets,
  ...rounded({ bytesPerSession: total, ofThatIndex: indexBytes / fullSize }),
}
console.log(full)

const version = /redis_version:(\S+)/.exec(await client.info('server'))?.[1] ?? ''
const allocator = /mem_allocator:(\S+)/.exec(await client.info('memory'))?.[1] ?? ''
writeFileSync(
  new URL('results/record-layout.json', import.meta.url),
  `${JSON.stringify(
    {
      measured: new Date().toISOString().slice(0, 10),
      on: { cpu: cpus()[0]?.model, node: process.version, redis: version, allocator },
      session: { data: 300, identity: session(0).identity.length, user: session(0).userId, inFlight },
      layouts: results,
      reading,
      full,
    },
    null,
    2,
  )}\n`,
)
await client.close()
await server.stop()

/** One session per user, the worst case for the index. */
function session(i: number): SessionRecord {
  const now = Date.now()
  return {
    id: createHash('sha256').update(`${i}`).digest('base64url').slice(0, 21) + 'A',
    userId: `user-${String(i).padStart(6, '0')}`,
    credential: createHash('sha256').update(randomBytes(16)).digest('base64url'),
    identity: '{"r":["shopper"],"m":["pwd"],"d":["Chrome 140","Windows","203.0.113.7"]}',
    data: JSON.stringify({ cart: 'x'.repeat(289) }),
    createdAt: now - 3_600_000,
    seenAt: now,
    expiresAt: now + 11 * 3_600_000,
    epoch: 0,
    version: 1,
  }
}

function hash(): Layout {
  const script = `
    if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], unpack(ARGV, 3))
    redis.call('PEXPIREAT', KEYS[1], ARGV[2])
    return 1`
  const put = async (record: SessionRecord) =>
    run(script, record.id, [
      String(record.version - 1),
      String(record.expiresAt),
      ...Object.entries(record).flat().map(String),
    ])
  return {
    name: 'hash',
    write: put,
    update: put,
    async read(id) {
      const fields = await client.hGetAll(id)
      return {
        ...fields,
        createdAt: Number(fields['createdAt']),
        seenAt: Number(fields['seenAt']),
        expiresAt: Number(fields['expiresAt']),
      }
    },
  }
}

function text(name: string, encode: (record: SessionRecord) => string, decode: (value: string) => unknown): Layout {
  // The version goes first, where a script finds it.
  const script = `
    local found = redis.call('GETRANGE', KEYS[1], 0, 15)
    local version = found == '' and '0' or string.match(found, '^%d+')
    if version ~= ARGV[1] then return 0 end
    redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
    return 1`
  const put = async (record: SessionRecord) =>
    run(script, record.id, [
      String(record.version - 1),
      `${record.version} ${encode(record)}`,
      String(record.expiresAt),
    ])
  return {
    name,
    write: put,
    update: put,
    async read(id) {
      const value = (await client.get(id))!
      return decode(value.slice(value.indexOf(' ') + 1))
    },
  }
}

function packText(r: SessionRecord): string {
  const numbers = [r.createdAt, r.seenAt - r.createdAt, r.expiresAt - r.createdAt, r.epoch].map((n) => n.toString(36))
  return (
    [...numbers, r.credential, r.userId?.length ?? -1, r.identity.length, ''].join(' ') +
    (r.userId ?? '') +
    r.identity +
    r.data
  )
}

function unpackText(value: string): unknown {
  const parts = value.split(' ', 7)
  let at = parts.reduce((sum, part) => sum + part.length + 1, 0)
  const take = (length: number) => value.slice(at, (at += length))
  const createdAt = parseInt(parts[0]!, 36)
  const userId = Number(parts[5]) < 0 ? null : take(Number(parts[5]))
  const identity = take(Number(parts[6]))
  return {
    userId,
    credential: parts[4],
    identity,
    data: value.slice(at),
    createdAt,
    seenAt: createdAt + parseInt(parts[1]!, 36),
    expiresAt: createdAt + parseInt(parts[2]!, 36),
    epoch: parseInt(parts[3]!, 36),
  }
}

async function run(script: string, id: string, args: string[]): Promise<unknown> {
  const call = { keys: [id], arguments: args }
  try {
    return await client.evalSha(createSha(script), call)
  } catch (error) {
    if (!String(error).includes('NOSCRIPT')) throw error
    return client.eval(script, call)
  }
}

function createSha(script: string): string {
  let sha = shas.get(script)
  if (sha === undefined) shas.set(script, (sha = createHash('sha1').update(script).digest('hex')))
  return sha
}

function recordKey(id: string, like: string): string {
  return like.startsWith('hf:') ? `hf:s:${id}` : id
}

/** CPU time of this process per item, in µs, with `inFlight` calls under way at a time. */
async function cpuUs<T>(items: readonly T[], call: (item: T) => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  for (let i = 0; i < items.length; i += inFlight) await Promise.all(items.slice(i, i + inFlight).map(call))
  const { user, system } = process.cpuUsage(before)
  return (user + system) / items.length
}

async function best(measure: () => Promise<number>): Promise<number> {
  const times = []
  for (let i = 0; i < 5; i++) times.push(await measure())
  return Math.min(...times)
}

async function usedMemory(): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1])
}

function rounded<K extends string>(numbers: Record<K, number>): Record<K, number> {
  return Object.fromEntries(
    Object.entries<number>(numbers).map(([name, n]) => [name, Math.round(n * 100) / 100]),
  ) as Record<K, number>
}
