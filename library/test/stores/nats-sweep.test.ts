// What has expired in NATS is found wherever it lies, and what is live is not looked at again and again for it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JetStreamManager } from '@nats-io/jetstream'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { clientOf, one } from '../nats-fixtures.ts'
import { record } from './record.ts'

const hour = 3_600_000

/** A store by a clock of its own, what it asks the server for, and how many messages there are. */
async function world() {
  const server = await one()
  const { connection, manager } = await clientOf(server.url, { timeout: 10_000 })
  await manager.streams.add(natsStoreStream())
  const world = { now: Date.now(), reads: 0, failing: false }
  const { streams } = manager
  const counted: Parameters<typeof natsStore>[1] = {
    jetstream: () => manager.jetstream(),
    streams: {
      info: (name) => streams.info(name),
      getMessage(name, query) {
        world.reads++
        return streams.getMessage(name, query as Parameters<JetStreamManager['streams']['getMessage']>[1])
      },
      async deleteMessage(name, seq, erase) {
        if (world.failing) throw new Error('away')
        return streams.deleteMessage(name, seq, erase)
      },
    },
  }
  const store = natsStore(connection, counted, { clock: { now: () => world.now } })
  return Object.assign(world, {
    store,
    /** Sessions that are over after so many hours. */
    async start(name: string, count: number, hours: number): Promise<readonly string[]> {
      const ids = Array.from({ length: count }, (_, i) => `${name}-${i}`)
      const { now } = world
      const started = { createdAt: now, seenAt: now, expiresAt: now + hours * hour }
      for (const id of ids) await store.put(record({ id, userId: null, ...started }), null)
      return ids
    },
    messages: async () => (await streams.info('holdfast')).state.messages,
  })
}

test('a sweep finds what is over behind any number of live ones, and then does not look at these again', async () => {
  const w = await world()
  await w.start('live', 1_000, 5)
  await w.start('brief', 5, 1)
  await w.start('late', 1_000, 5)
  w.now += 2 * hour
  assert.equal(await w.store.sweep(10), 5)
  assert.ok(w.reads >= 2_005)
  w.reads = 0
  assert.equal(await w.store.sweep(10), 0)
  assert.ok(w.reads < 10, `${w.reads} reads for nothing`)
  // What is new is looked at, and what was seen is when its time has come.
  await w.start('new', 3, 1)
  w.now += 1.5 * hour
  assert.equal(await w.store.sweep(10), 3)
  w.now += 2 * hour
  assert.equal(await w.store.sweep(1_500), 1_500)
  assert.equal(await w.store.sweep(1_500), 500)
  assert.equal(await w.messages(), 0)
})

test('several at once remove each session once', async () => {
  const w = await world()
  await w.start('brief', 200, 1)
  w.now += 2 * hour
  const removed = await Promise.all([50, 30, 500].map((limit) => w.store.sweep(limit)))
  assert.deepEqual(removed, [50, 30, 120])
})

test('what could not be removed is removed by the next', async () => {
  const w = await world()
  await w.start('brief', 200, 1)
  await w.start('live', 10, 5)
  w.now += 2 * hour
  w.failing = true
  await assert.rejects(w.store.sweep(500), /away/)
  w.failing = false
  // Of the first call some may have come through after it.
  assert.ok((await w.store.sweep(500)) > 0)
  assert.equal(await w.messages(), 10)
})

test('whatever was started, extended and ended meanwhile, a sweep takes what is over and nothing else', async () => {
  const w = await world()
  const live = new Map<string, { version: number; expiresAt: number }>()
  let [seed, count, over] = [7, 0, 0]
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((seed / 2_147_483_648) * below)
  }
  const write = async (id: string, expected: number | null) => {
    const expiresAt = w.now + (1 + random(40)) * hour
    const version = (expected ?? 0) + 1
    const userId = random(2) === 0 ? null : `user-${random(9)}`
    const written = record({ id, userId, version, createdAt: w.now, seenAt: w.now, expiresAt })
    assert.ok(await w.store.put(written, expected))
    live.set(id, { version, expiresAt })
  }
  for (let turn = 0; turn < 60; turn++) {
    for (let i = 0; i < 12; i++) {
      const ids = [...live.keys()]
      const id = ids[random(ids.length)]
      const what = random(4)
      if (what < 2 || id === undefined) await write(`s${count++}`, null)
      else if (what === 2) await write(id, live.get(id)!.version)
      else {
        assert.deepEqual(await w.store.delete([id]), [id])
        live.delete(id)
      }
    }
    w.now += random(4) * hour
    for (const [id, { expiresAt }] of live) {
      if (expiresAt > w.now) continue
      live.delete(id)
      over++
    }
    over -= await w.store.sweep(random(10))
    assert.ok(over >= 0, 'more were removed than are over')
  }
  assert.equal(await w.store.sweep(10_000), over)
  for (const [id, { version }] of live) assert.equal((await w.store.get(id))?.version, version)
  w.now += 100 * hour
  assert.equal(await w.store.sweep(10_000), live.size)
  assert.equal(await w.messages(), 0)
})
