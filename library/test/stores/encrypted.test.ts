// Encryption at rest: what a store holds says nothing, can't be changed unnoticed, and keys change while sessions live.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ConfigError, createSessions, type SessionRecord, type Store } from 'holdfast'
import { encrypted } from 'holdfast/stores/encrypted'
import { memoryStore } from 'holdfast/stores/memory'
import { redisStore } from 'holdfast/stores/redis'
import { fakeClock, testStore } from 'holdfast/testing'
import { createClient } from 'redis'
import { startRedis } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { record as sample, stayAwake } from '../fixtures.ts'

const awake = stayAwake()
let server: Server
let client: ReturnType<typeof createClient>
before(async () => {
  server = await startRedis()
  client = createClient({ url: server.url, disableOfflineQueue: true })
  client.on('error', () => {})
  await client.connect()
})
after(async () => {
  awake.sleep()
  client.destroy()
  await server.stop()
})

const key = 'a first secret of at least thirty-two characters'
const newer = 'a second secret of at least thirty-two characters'

testStore(
  'encrypted memory',
  () => {
    const clock = fakeClock()
    return { store: encrypted(memoryStore({ clock }), key), clock }
  },
  { test },
)

let prefixes = 0
testStore(
  'encrypted redis',
  () => {
    const o = { prefix: `e${prefixes++}:`, clock: fakeClock(Date.now()) }
    const store = () => encrypted(redisStore(client, o), [key, newer])
    return { store: store(), another: store, clock: o.clock }
  },
  { test },
)

const secretive = sample({
  identity: '{"r":["chief-of-secrets"],"c":{"mail":"ada@example.org"}}',
  data: '{"cart":["a very private thing"],"notes":"ünïcode 🛒"}',
})

/** A store on which things can be done behind the wrapper's back. */
function world() {
  const clock = fakeClock(sample().createdAt)
  const inner = memoryStore({ clock })
  /** Whatever is there, `changed` is there now. */
  const force = async (changed: SessionRecord) => {
    await inner.delete([changed.id])
    await inner.put(changed, null)
  }
  return { clock, inner, force, store: encrypted(inner, key) }
}

test('nothing of identity and data is readable in the store', async () => {
  const { inner, store } = world()
  await store.put(secretive, null)
  assert.deepEqual(await store.get(secretive.id), secretive)
  const { identity, data, ...rest } = (await inner.get(secretive.id))!
  assert.deepEqual({ ...rest, identity: secretive.identity, data: secretive.data }, secretive, 'the rest is as it was')
  assert.match(identity, /^e1\.[\w-]{8}\.[\w-]+$/)
  assert.match(data, /^e1\.[\w-]{8}\.[\w-]+$/)

  const live = { ...secretive, expiresAt: Date.now() + 60_000 }
  await encrypted(redisStore(client, { prefix: 'dump:' }), key).put(live, null)
  const dump = (await client.withTypeMapping({ [36]: Buffer }).get(`dump:s:${live.id}`))!
  for (const stored of [Buffer.from(identity + data), dump]) {
    for (const text of ['chief', 'secrets', 'ada@', 'cart', 'private', 'notes', 'code']) {
      assert.ok(!stored.includes(text), text)
    }
  }
  assert.ok(dump.includes('ada'), 'the user stays readable')
})

test('the same session is never the same text twice', async () => {
  const { inner, store } = world()
  await store.put(secretive, null)
  const first = (await inner.get(secretive.id))!
  await store.delete([secretive.id])
  await store.put(secretive, null)
  const second = (await inner.get(secretive.id))!
  assert.notEqual(first.identity, second.identity)
  assert.notEqual(first.data, second.data)
})

test('whatever is changed in the store is noticed, and can be ended', async () => {
  const { inner, force, store } = world()
  const other = { ...secretive, id: 'j'.repeat(22), userId: 'eve' }
  await store.put(other, null)
  await store.put(secretive, null)
  const [stored, theirs] = [(await inner.get(secretive.id))!, (await inner.get(other.id))!]
  await store.put({ ...secretive, version: 2, data: '{}' }, 1)
  const later = (await inner.get(secretive.id))!
  const changes: Record<string, Partial<SessionRecord>> = {
    'the identity of another record': { identity: theirs.identity },
    'the data of another record': { data: theirs.data },
    'data for identity': { identity: stored.data },
    'identity for data': { data: stored.identity },
    'data of a later version': { data: later.data },
    'another user': { userId: 'eve' },
    'a guest': { userId: null },
    'another credential': { credential: 'theirs' },
    'a later end': { expiresAt: stored.expiresAt + 1 },
    'a later beginning': { createdAt: stored.createdAt + 1 },
    'a later sight': { seenAt: stored.seenAt + 1 },
    'another epoch': { epoch: 0 },
    'another version': { version: 2 },
    'a bit': { data: stored.data.slice(0, -2) + (stored.data.at(-2) === 'A' ? 'B' : 'A') + stored.data.at(-1) },
    'a tag cut short': { data: stored.data.slice(0, -4) },
    nothing: { data: stored.data.split('.').slice(0, 2).join('.') + '.A' },
  }
  for (const [what, change] of Object.entries(changes)) {
    await force({ ...stored, ...change })
    await assert.rejects(store.get(stored.id), /changed by somebody else/, what)
    assert.deepEqual(await store.delete([stored.id]), [stored.id])
  }
  // What they can do is to put an older state back as a whole.
  await force(stored)
  assert.deepEqual(await store.get(stored.id), secretive)
})

test('plain text in the store opens nothing', async () => {
  const { force, store } = world()
  await force(secretive)
  await assert.rejects(store.get(secretive.id), (e) => e instanceof ConfigError && /not encrypted/.test(e.message))
})

test('a session that can not be decrypted keeps nobody from ending all of a user', async () => {
  const { inner, force, store, clock } = world()
  const sessions = createSessions({ store, now: clock.now })
  const [one, two] = [await sessions.start('ada'), await sessions.start('ada')]
  await force({ ...(await inner.get(one.session.id!))!, identity: 'e1.AAAAAAAA.AAAA' })
  await assert.rejects(store.get(one.session.id!), ConfigError)
  assert.equal((await sessions.list('ada')).length, 2)
  assert.equal((await store.scan({ limit: 10 })).records.length, 2)
  await sessions.endUser('ada')
  assert.deepEqual(await inner.listByUser('ada'), [])
  assert.equal((await sessions.open(two.token)).userId, null)
  sessions.close()
})

test('a new key takes over while sessions live, and the old one can go when all were written again', async () => {
  const { inner } = world()
  const steps: Store[] = [[key], [key, newer], [newer, key], [newer]].map((keys) => encrypted(inner, keys))
  const [old, prepared, turned, done] = steps as [Store, Store, Store, Store]
  await old.put(secretive, null)
  for (const store of [prepared, turned]) assert.deepEqual(await store.get(secretive.id), secretive)
  await assert.rejects(done.get(secretive.id), (e) => e instanceof ConfigError && /not among them/.test(e.message))
  const written = { ...secretive, version: 2 }
  assert.equal(await turned.put(written, 1), true)
  for (const store of [prepared, turned, done]) assert.deepEqual(await store.get(secretive.id), written)
  await assert.rejects(old.get(secretive.id), ConfigError)
})

test('encryption is switched on while sessions live', async () => {
  const { inner } = world()
  const [before, turned, done] = [['plain', key], [key, 'plain'], key].map((keys) => encrypted(inner, keys)) as Store[]
  await inner.put(secretive, null)
  for (const store of [before!, turned!]) assert.deepEqual(await store.get(secretive.id), secretive)
  assert.equal(await before!.put({ ...secretive, version: 2 }, 1), true)
  assert.equal((await inner.get(secretive.id))!.data, secretive.data, 'a process without the wrapper still reads it')
  assert.equal(await turned!.put({ ...secretive, version: 3 }, 2), true)
  for (const store of [before!, turned!, done!]) assert.equal((await store.get(secretive.id))!.data, secretive.data)
})

test('the wrapper can do what the store can, and no more', () => {
  const { get, put, listByUser, delete: end } = memoryStore()
  const bare: Store = encrypted({ get, put, listByUser, delete: end }, key)
  assert.deepEqual(Object.keys(bare).toSorted(), ['delete', 'get', 'listByUser', 'put'])
  const { sweep, scan } = encrypted(memoryStore(), key)
  assert.ok(typeof sweep === 'function' && typeof scan === 'function')
  // @ts-expect-error -- Redis expires by itself
  assert.equal(encrypted(redisStore(client), key).sweep, undefined)
})

test('keys that can not work are refused', () => {
  for (const keys of ['', 'short', [], ['plain'], [key, key], ['plain', key, 'plain'], [key, 'x'.repeat(31)]]) {
    assert.throws(
      () => encrypted(memoryStore(), keys),
      (error) => error instanceof ConfigError && error.message.startsWith('keys: '),
    )
  }
  assert.throws(() => encrypted(memoryStore(), undefined as never), ConfigError)
})
