// What NATS keeps of what was replaced and ended, when it goes, and that a server that is killed does not bring it back.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { clientOf, cluster, makeStream, one, untilAnswered } from '../nats-fixtures.ts'
import { record } from './record.ts'

/** So much is written here that on a busy machine an answer may take its time. */
const patiently = { timeout: 10_000 }

test('an ending is remembered for some minutes, and a sweep removes it, what expired, and lists', async () => {
  const server = await one()
  const { connection, manager } = await clientOf(server.url, patiently)
  await manager.streams.add(natsStoreStream())
  let now = Date.now()
  const store = natsStore(connection, manager, { clock: { now: () => now } })
  // What was replaced goes when nobody waits for it.
  const untilMessages = async (expected: number) => {
    for (const until = Date.now() + 10_000; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
      const { messages } = (await manager.streams.info('holdfast')).state
      if (messages === expected) return
      assert.ok(Date.now() < until, `${messages} messages, expected ${expected}`)
    }
  }
  const ids = Array.from({ length: 40 }, (_, i) => `s${i}`)
  for (const id of ids) await store.put(record({ id, userId: `user-${id}` }), null)
  await untilMessages(80)
  await store.delete(ids.slice(0, 19))
  await store.put(record({ id: 's19', version: 2, expiresAt: 0, userId: 'user-s19' }), 1)
  await untilMessages(60)
  now += 240_000
  assert.equal(await store.sweep(100), 0)
  await untilMessages(60)
  now += 120_000
  assert.equal(await store.sweep(100), 0)
  await untilMessages(40)
  now += 12 * 3_600_000
  let swept = 0
  for (let i = 0; i < 5; i++) swept += await store.sweep(10)
  assert.equal(swept, 20)
  await untilMessages(0)
})

test('what was replaced and is still there is not seen, and a sweep does not bring it back', async () => {
  const server = await one()
  const { connection, manager } = await clientOf(server.url, patiently)
  await manager.streams.add(natsStoreStream())
  let now = Date.now()
  const store = natsStore(connection, manager, { clock: { now: () => now } })
  await store.put(record({ id: 'changed', userId: null }), null)
  await store.put(record({ id: 'ended', userId: null }), null)
  const old = await Promise.all(
    ['changed', 'ended'].map((id) => manager.streams.getMessage('holdfast', { last_by_subj: `holdfast.s.${id}` })),
  )
  await manager.streams.purge('holdfast')
  // As if it had been replaced by writers that died before they took it away.
  const write = async (id: string, data: Uint8Array) => manager.jetstream().publish(`holdfast.s.${id}`, data)
  for (const [i, id] of ['changed', 'ended'].entries()) {
    await write(id, old[i]!.data)
    await write(id, old[i]!.data)
  }
  const others = natsStore(connection, manager, { clock: { now: () => now } })
  assert.equal(await others.put(record({ id: 'changed', userId: null, version: 2 }), 1), true)
  assert.deepEqual(await others.delete(['ended']), ['ended'])
  assert.deepEqual(
    (await others.scan({ limit: 100 })).records.map(({ id, version }) => [id, version]),
    [['changed', 2]],
  )
  now += 600_000
  await others.sweep(100)
  assert.equal(await others.get('ended'), null)
  // A server of 2.9 would find it only when it starts again.
  const left = { seq: 1, next_by_subj: 'holdfast.s.ended' }
  assert.equal(await manager.streams.getMessage('holdfast', left), null)
  assert.equal((await others.get('changed'))?.version, 2)
})

test('a machine whose clock is ahead takes nothing of the others', async (t) => {
  const server = await one()
  const { connection, manager } = await clientOf(server.url, patiently)
  await manager.streams.add(natsStoreStream())
  const store = natsStore(connection, manager)
  await store.put(record({ id: 'one' }), null)
  await store.put(record({ id: 'two' }), null)
  const real = Date.now
  const ahead = t.mock.method(Date, 'now', () => real() + 3 * 3_600_000)
  await store.put(record({ id: 'ahead' }), null)
  assert.equal(await store.sweep(100), 0)
  ahead.mock.restore()
  assert.deepEqual((await store.listByUser('anna')).map(({ id }) => id).sort(), ['ahead', 'one', 'two'])
})

test('a session that goes to another user and back is on the list', async () => {
  const server = await one()
  const [a, b] = [await clientOf(server.url, patiently), await clientOf(server.url, patiently)]
  await a.manager.streams.add(natsStoreStream())
  const going = natsStore(a.connection, a.manager)
  const coming = natsStore(b.connection, b.manager)
  for (let round = 0; round < 30; round++) {
    const id = `moved-${round}`
    await going.put(record({ id }), null)
    const gone = going.put(record({ id, version: 2, userId: 'bert' }), 1)
    while ((await coming.get(id))?.version !== 2);
    await Promise.all([coming.put(record({ id, version: 3 }), 2), gone])
    assert.ok(
      (await coming.listByUser('anna')).some((session) => session.id === id),
      `round ${round}`,
    )
  }
})

for (const replicas of [1, 3] as const) {
  test(`a server ${replicas === 1 ? 'that is alone' : 'of three'} that is killed brings back nothing that was ended just before, and knows what was written`, async () => {
    const servers = replicas === 3 ? (await cluster()).servers : [await one()]
    const client = await clientOf(
      servers.map(({ url }) => url),
      patiently,
    )
    await makeStream(natsStoreStream({ replicas }), client)
    const { connection, manager } = client
    const store = natsStore(connection, manager)
    // So much that what is replaced lies in other files of the server than what replaces it.
    const data = 'x'.repeat(60_000)
    const fill = async (name: string) => {
      for (let i = 0; i < 300; i += 10) {
        const some = Array.from({ length: 10 }, (_, k) => record({ id: `${name}${i + k}`, userId: null, data }))
        await Promise.all(some.map((session) => store.put(session, null)))
      }
    }
    const ended = Array.from({ length: 50 }, (_, i) => `ended-${i}`)
    for (const id of ended) await store.put(record({ id }), null)
    await fill('first')
    for (const id of ended.slice(0, 25)) await store.put(record({ id, version: 2 }), 1)
    await fill('second')
    assert.equal((await store.delete(ended)).length, ended.length)
    const started = Array.from({ length: 200 }, (_, i) => `started-${i}`)
    for (const id of started) await store.put(record({ id, userId: 'bert' }), null)
    await store.put(record({ id: 'changed' }), null)
    for (let version = 1; version < 300; version++) {
      await store.put(record({ id: 'changed', version: version + 1, data: 'y'.repeat(8_000) }), version)
    }
    ended.push(...started.splice(0, 50))
    assert.equal((await store.delete(ended.slice(-50))).length, 50)

    const ledBy = async () => (await manager.streams.info('holdfast')).cluster?.leader
    const { name: first } = servers[0]!
    const victim = replicas === 1 ? servers[0]! : servers[(await ledBy()) === first ? 1 : 0]!
    await victim.kill()
    await victim.restart()
    // It is asked itself: of three it has to lead for that.
    await untilAnswered(async () => {
      if (replicas === 1 || (await ledBy()) === victim.name) return
      const { replicas: others } = (await manager.streams.info('holdfast')).cluster!
      if (others?.every(({ current }) => current)) await connection.request('$JS.API.STREAM.LEADER.STEPDOWN.holdfast')
      throw new Error(`${victim.name} does not lead`)
    })
    for (const id of ended) assert.equal(await untilAnswered(() => store.get(id)), null, id)
    assert.equal((await untilAnswered(() => store.listByUser('bert'))).length, started.length)
    assert.equal((await untilAnswered(() => store.get('changed')))?.version, 300)
  })
}
