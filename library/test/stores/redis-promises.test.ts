// What the Redis store promises beyond the contract: few commands, native expiry, a bounded index, formats, lost scripts.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ConfigError, type SessionRecord } from 'holdfast'
import { redisStore } from 'holdfast/stores/redis'
import { fakeClock } from 'holdfast/testing'
import { createClient } from 'redis'
import { startRedis } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { runProcess } from './processes/processes.ts'
import { record } from './record.ts'

let server: Server
let client: ReturnType<typeof createClient>
let prefixes = 0

before(async () => {
  server = await startRedis()
  client = createClient({ url: server.url, disableOfflineQueue: true })
  client.on('error', () => {})
  await client.connect()
})
after(async () => {
  await client.close()
  await server.stop()
})

const freshPrefix = () => `p${process.pid}-${prefixes++}:`

test('fifty increments by three processes are fifty', async () => {
  const store = redisStore(client)
  const id = `counter-${process.pid}`
  await store.put(record({ id, data: '0' }), null)
  await Promise.all([17, 17, 16].map((times) => runProcess('increment.ts', [server.url, id, String(times)])))
  assert.equal((await store.get(id))?.data, '50')
  await store.delete([id])
})

test('a read is one command, and so is a write on the hot path', async () => {
  const store = redisStore(client, { prefix: freshPrefix() })
  const first = record()
  await store.put(first, null)
  assert.deepEqual(await commandsOf(() => store.get(first.id)), { get: 1 })
  const second = { ...first, version: 2, seenAt: first.seenAt + 1, expiresAt: first.expiresAt + 1 }
  assert.deepEqual(await commandsOf(() => store.put(second, 1)), { evalsha: 1, getrange: 1, set: 1 })
  assert.deepEqual(await commandsOf(() => store.put(second, 1)), { evalsha: 1, getrange: 1 })
  assert.deepEqual(await commandsOf(() => store.delete([first.id])), { getdel: 1, zrem: 1 })
})

test('touching a session writes to the user index at most about once per idle window', async () => {
  const clock = fakeClock(Date.now())
  const store = redisStore(client, { prefix: freshPrefix(), clock })
  const idleMs = 1_800_000
  let kept = record({ expiresAt: clock.now() + idleMs })
  await store.put(kept, null)
  let indexWrites = 0
  for (let minutes = 0; minutes < 600; minutes += 3) {
    clock.advance('3m')
    kept = { ...kept, version: kept.version + 1, seenAt: clock.now(), expiresAt: clock.now() + idleMs }
    const { zadd = 0 } = await commandsOf(() => store.put(kept, kept.version - 1))
    indexWrites += zadd
  }
  assert.ok(indexWrites <= 20, `${indexWrites} in 20 idle windows`)
  assert.ok(indexWrites >= 10, `${indexWrites} in 20 idle windows: does the index still cover the session?`)
})

test('Redis drops what has expired by itself, a minute later at most, and the index after it', async () => {
  const prefix = freshPrefix()
  const store = redisStore(client, { prefix })
  const kept = record()
  await store.put(kept, null)
  const recordEnd = await client.pExpireTime(`${prefix}s:${kept.id}`)
  assert.equal(recordEnd, kept.expiresAt + 60_000)
  const bucketEnd = (await client.expireTime(await bucketOf(prefix))) * 1000
  assert.ok(bucketEnd >= recordEnd && bucketEnd <= kept.expiresAt + 3 * 3_600_000, `${bucketEnd - kept.expiresAt}`)
})

test('dead entries of the index are cleared away by later writes, live ones never', async () => {
  const prefix = freshPrefix()
  const store = redisStore(client, { prefix })
  const lasting = record()
  await store.put(lasting, null)
  const bucket = await bucketOf(prefix)
  const second = Math.floor(Date.now() / 1000)
  const ended = (secondsAgo: number) => ({ score: second - secondsAgo, value: `ended ${secondsAgo} s ago` })
  await client.zAdd(
    bucket,
    Array.from({ length: 200 }, (_, i) => ended(62 + i * 600)),
  )
  await client.zAdd(bucket, ended(30))
  const another = record()
  await store.put(another, null)
  assert.equal(await client.zCard(bucket), 3)
  assert.deepEqual(new Set((await store.listByUser('anna')).map(({ id }) => id)), new Set([lasting.id, another.id]))
})

test('a machine whose clock is a day ahead hides no session of the others', async () => {
  const prefix = freshPrefix()
  const store = redisStore(client, { prefix })
  const kept = record()
  await store.put(kept, null)
  const ahead = fakeClock(Date.now() + 86_400_000)
  const theirs = record({ seenAt: ahead.now(), expiresAt: ahead.now() + 1_800_000 })
  await redisStore(client, { prefix, clock: ahead }).put(theirs, null)
  assert.ok((await store.listByUser('anna')).some(({ id }) => id === kept.id))
})

test('a list that is overtaken by a replacement has the session that came instead', async () => {
  const prefix = freshPrefix()
  const store = redisStore(client, { prefix })
  const chain = Array.from({ length: 4 }, () => record())
  await store.put(chain[0]!, null)
  let looks = 0
  const slow = {
    withCommandOptions(o: object) {
      const commands = client.withCommandOptions(o)
      const zRange: typeof commands.zRange = async (...args) => {
        const entries = await commands.zRange(...args)
        const [old, replacement] = chain.slice(looks++)
        if (old !== undefined && replacement !== undefined) {
          await store.put(replacement, null)
          await store.put({ ...old, version: 2, expiresAt: 0 }, 1)
        }
        return entries
      }
      return Object.assign(Object.create(commands) as typeof commands, { zRange })
    },
  }
  const listed = await redisStore(slow, { prefix }).listByUser('anna')
  assert.deepEqual(
    listed.map(({ id }) => id),
    [chain[3]!.id],
  )
  assert.equal(looks, 4)
})

test('clocks that are a minute apart hide no live session', async () => {
  const prefix = freshPrefix()
  const late = fakeClock(Date.now() - 59_000)
  const behind = redisStore(client, { prefix, clock: late })
  // Ends at a multiple of the shortest cover, so the cover has no slack of its own.
  const end = Math.ceil((late.now() + 1000) / 65_536) * 65_536
  const kept = record({ seenAt: late.now(), expiresAt: end })
  await behind.put(kept, null)
  late.advance(`${end - late.now() - 1000}ms`)
  await redisStore(client, { prefix, clock: fakeClock(late.now() + 59_000) }).put(record(), null)
  assert.equal((await behind.get(kept.id))?.id, kept.id)
  assert.ok((await behind.listByUser('anna')).some(({ id }) => id === kept.id))
})

test('a user who signs out leaves nothing behind', async () => {
  const prefix = freshPrefix()
  const store = redisStore(client, { prefix })
  const [one, two] = [record(), record()]
  await store.put(one, null)
  await store.put(two, null)
  await store.delete([one.id])
  await store.put({ ...two, version: 2, expiresAt: 0 }, 1)
  assert.deepEqual(await client.keys(`${prefix}*`), [])
})

test('a guest takes no room in the index', async () => {
  const prefix = freshPrefix()
  const guest = record({ userId: null })
  await redisStore(client, { prefix }).put(guest, null)
  assert.deepEqual(await client.keys(`${prefix}*`), [`${prefix}s:${guest.id}`])
})

test('scripts that the server forgot are sent again', async () => {
  const store = redisStore(client, { prefix: freshPrefix() })
  await client.scriptFlush()
  const kept = record()
  assert.equal(await store.put(kept, null), true)
  await client.scriptFlush()
  assert.equal(await store.put({ ...kept, version: 2 }, 1), true)
})

test('a record of a newer Holdfast is not guessed at, but can be ended', async () => {
  const prefix = freshPrefix()
  const store = redisStore(client, { prefix })
  const future = record()
  await client.set(`${prefix}s:${future.id}`, Buffer.from([9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]))
  const refused = (error: unknown) => error instanceof ConfigError && /newer Holdfast.*format 9/.test(error.message)
  await assert.rejects(store.get(future.id), refused)
  await assert.rejects(store.put(future, null), refused)
  await assert.rejects(store.put({ ...future, version: 2 }, 1), refused)
  assert.deepEqual(await store.delete([future.id]), [future.id])
  assert.equal(await store.get(future.id), null)
})

test('a record that was cut short is refused, and can be ended', async () => {
  const prefix = freshPrefix()
  const store = redisStore(client, { prefix })
  for (const length of [1, 11, 12, 13, 20]) {
    const cut = record()
    await store.put(cut, null)
    const key = `${prefix}s:${cut.id}`
    await client.set(key, (await client.withTypeMapping({ [36]: Buffer }).get(key))!.subarray(0, length))
    await assert.rejects(store.get(cut.id), /corrupt/)
    await assert.rejects(store.listByUser('anna'), /corrupt/)
    assert.deepEqual(await store.delete([cut.id]), [cut.id])
  }
})

test('a server of these tests may be stopped twice', async () => {
  const own = await startRedis()
  await own.stop()
  await own.stop()
})

test('every character of a prefix is taken literally', async () => {
  for (const prefix of ['a*:', 'a?:', 'a[b]:', 'a\\:', 'a^:', 'ä🛒:']) {
    const store = redisStore(client, { prefix })
    const kept = record()
    await store.put(kept, null)
    await redisStore(client, { prefix: 'axb:' }).put(record(), null)
    assert.deepEqual(
      (await walk(store)).map(({ id }) => id),
      [kept.id],
    )
  }
})

test("the store's commands go without the client's timer per command", async (t) => {
  const timer = t.mock.method(AbortSignal, 'timeout')
  await client.get('x')
  assert.equal(timer.mock.callCount(), 1, 'node-redis does it otherwise now; is this still worth doing?')
  const store = redisStore(client, { prefix: freshPrefix() })
  const kept = record()
  await store.put(kept, null)
  await store.get(kept.id)
  await store.listByUser('anna')
  await store.scan({ limit: 10 })
  await store.delete([kept.id])
  assert.equal(timer.mock.callCount(), 1)
})

test('what Redis refuses is a rejection', async () => {
  const closed = createClient({ url: server.url })
  const store = redisStore(closed)
  await assert.rejects(store.get('x'))
  await assert.rejects(store.put(record(), null))
  await assert.rejects(store.delete(['x']))
  await assert.rejects(store.listByUser('x'))
})

test('expiresAt must be an instant', async () => {
  const store = redisStore(client, { prefix: freshPrefix() })
  for (const expiresAt of [Date.now() + 1000.5, Infinity, 2 ** 48]) {
    await assert.rejects(store.put(record({ expiresAt }), null), RangeError)
  }
})

async function bucketOf(prefix: string): Promise<string> {
  const [bucket, ...others] = await client.keys(`${prefix}u:*`)
  assert.ok(bucket !== undefined && others.length === 0)
  return bucket
}

/** Which commands the server ran, and how often, inside of scripts too. */
async function commandsOf(call: () => Promise<unknown>): Promise<Record<string, number>> {
  await client.configResetStat()
  await call()
  const lines = (await client.info('commandstats')).matchAll(/^cmdstat_(\w+).*?:calls=(\d+)/gm)
  const counts = Object.fromEntries([...lines].map(([, name, calls]) => [name, Number(calls)]))
  delete counts['info']
  delete counts['config']
  return counts
}

async function walk(store: ReturnType<typeof redisStore>): Promise<SessionRecord[]> {
  const seen = new Map<string, SessionRecord>()
  let cursor: string | undefined
  do {
    const page = await store.scan({ cursor, limit: 100 })
    for (const found of page.records) seen.set(found.id, found)
    cursor = page.cursor ?? undefined
  } while (cursor !== undefined)
  return [...seen.values()]
}
