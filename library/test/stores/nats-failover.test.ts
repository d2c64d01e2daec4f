// Sessions in NATS when servers of the cluster die or stand still, several processes write, and connections break.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError, type Store } from 'holdfast'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { clientOf, cluster, makeStream, one, untilAnswered } from '../nats-fixtures.ts'
import { runProcess, writtenUntilKilled } from './processes/processes.ts'
import { record } from './record.ts'

/** Starts sessions, changes them, and ends every third one, until `over`; says what was acknowledged. */
function writer(store: Store, name: string, over: AbortSignal) {
  const live = new Map<string, number>()
  const ended = new Set<string>()
  const unsure = new Set<string>()
  const write = async () => {
    for (let i = 0; !over.aborted; i++) {
      const id = `${name}-${i}`
      try {
        assert.equal(await store.put(record({ id }), null), true)
        live.set(id, 1)
        assert.equal(await store.put(record({ id, version: 2, data: '1' }), 1), true)
        live.set(id, 2)
        if (i % 3 !== 0) continue
        assert.deepEqual(await store.delete([id]), [id])
        live.delete(id)
        ended.add(id)
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error
        unsure.add(id)
        await pause()
      }
    }
  }
  const done = write()
  return {
    live,
    ended,
    unsure,
    done,
    /** Resolves when so many more writes were acknowledged. */
    async writes(more: number): Promise<void> {
      const enough = live.size + ended.size + more
      while (live.size + ended.size < enough) await Promise.race([pause(), done])
    },
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}

for (const which of ['the leader of the stream', 'another server'] as const) {
  test(`when ${which} is killed, nothing acknowledged is lost and nothing ended revived`, async () => {
    const { servers, urls } = await cluster()
    const clients = await Promise.all(servers.map(() => clientOf(urls)))
    const watch = await clientOf(urls)
    await makeStream(natsStoreStream({ replicas: 3 }), watch, ...clients)
    const stores = clients.map(({ connection, manager }) => natsStore(connection, manager))
    const over = new AbortController()
    const writers = stores.map((store, i) => writer(store, `w${i}`, over.signal))
    await Promise.all(writers.map(({ writes }) => writes(10)))

    const { leader } = (await watch.manager.streams.info('holdfast')).cluster!
    const victim = servers.find(({ name }) => (name === leader) === (which === 'the leader of the stream'))!
    await victim.kill()
    const killedAt = Date.now()
    const fresh = natsStore(watch.connection, watch.manager)
    await untilAnswered(() => fresh.put(record(), null))
    console.log(`# ${which} was killed: a write was acknowledged again after ${Date.now() - killedAt} ms`)
    await Promise.all(writers.map(({ writes }) => writes(10)))
    await victim.restart()
    await Promise.all(writers.map(({ writes }) => writes(10)))
    over.abort()

    const reader = stores[0]!
    const listed = async () => (await untilAnswered(() => reader.listByUser('anna'))).map(({ id }) => id)
    for (const { live, ended, unsure, done } of writers) {
      await done
      const ids = new Set(await listed())
      for (const [id, version] of live) {
        const found = await untilAnswered(() => reader.get(id))
        // One whose ending was not answered may be over.
        if (unsure.has(id)) continue
        assert.equal(found?.version, version, `${id} as it was acknowledged`)
        assert.ok(ids.has(id), `${id} on the list`)
      }
      for (const id of ended) assert.equal(await untilAnswered(() => reader.get(id)), null, `${id} was ended`)
    }
  })
}

test('a change that races an ending, on another server, does not outlive it', async () => {
  const { urls } = await cluster()
  const [one, two] = [await clientOf(urls[0]!), await clientOf(urls[1]!)]
  await makeStream(natsStoreStream({ replicas: 3 }), one, two)
  const changing = natsStore(one.connection, one.manager)
  const ending = natsStore(two.connection, two.manager)
  for (let round = 0; round < 100; round++) {
    const id = `raced-${round}`
    await changing.put(record({ id }), null)
    const [ended] = await Promise.all([
      ending.delete([id]),
      changing.put(record({ id, version: 2 }), 1),
      changing.put(record({ id, version: 2, expiresAt: 0 }), 1),
    ])
    assert.ok(ended.length <= 1)
    for (const store of [changing, ending]) assert.equal(await store.get(id), null, `round ${round}`)
  }
})

test('a leader that is cut off from the others acknowledges nothing', async () => {
  const { servers, urls } = await cluster()
  const { leader } = (await makeStream(natsStoreStream({ replicas: 3 }), await clientOf(urls))).cluster!
  const others = servers.filter(({ name }) => name !== leader)
  const { connection, manager } = await clientOf(servers.find(({ name }) => name === leader)!.url)
  const store = natsStore(connection, manager)
  await store.put(record({ id: 'there' }), null)
  for (const other of others) other.pause()
  // It still thinks that it leads, and answers reads.
  assert.equal((await store.get('there'))?.version, 1)
  await assert.rejects(store.delete(['there']))
  await assert.rejects(store.put(record({ id: 'new' }), null))
  assert.equal((await store.get('there'))?.version, 1)
  for (const other of others) other.resume()
  // One that is not answered may be written, and then the next one finds it.
  await untilAnswered(() => store.put(record({ id: 'newer' }), null))
  assert.equal((await untilAnswered(() => store.get('newer')))?.version, 1)
})

test('fifty increments by three processes are fifty', async () => {
  const { urls } = await cluster()
  const clients = await Promise.all(urls.map((url) => clientOf(url)))
  await makeStream(natsStoreStream({ replicas: 3 }), ...clients)
  const { connection, manager } = clients[0]!
  const store = natsStore(connection, manager)
  await store.put(record({ id: 'counter', data: '0' }), null)
  await Promise.all(urls.map((url, i) => runProcess('increment.ts', [url, 'counter', String([17, 17, 16][i])])))
  assert.deepEqual([(await store.get('counter'))?.data, (await store.get('counter'))?.version], ['50', 51])
})

test('nothing acknowledged is lost when the writers and then the server are killed', async () => {
  const server = await one()
  const { connection, manager } = await clientOf(server.url)
  await manager.streams.add(natsStoreStream())
  const { ended, live } = await writtenUntilKilled(server.url)
  await server.kill()
  await server.restart()
  const store = natsStore(connection, manager)
  for (const id of ended) assert.equal(await untilAnswered(() => store.get(id)), null, id)
  for (const id of live) assert.ok(await untilAnswered(() => store.get(id)), id)
})

test('without a connection a call rejects at once, and nothing is written afterwards', async () => {
  const server = await one()
  const { connection, manager } = await clientOf(server.url)
  await manager.streams.add(natsStoreStream())
  const store = natsStore(connection, manager)
  await store.put(record({ id: 'known' }), null)
  await server.kill()
  while (connection.info !== undefined) await new Promise((resolve) => setTimeout(resolve, 5))
  await assert.rejects(store.put(record({ id: 'late' }), null), /not connected/)
  await assert.rejects(store.put(record({ id: 'known', version: 2 }), 1), /not connected/)
  await assert.rejects(store.get('known'), /not connected/)
  await server.restart()
  assert.equal((await untilAnswered(() => store.get('known')))?.version, 1)
  await connection.flush()
  assert.equal(await store.get('late'), null)
})

test('a call that is given up writes nothing more', async () => {
  const server = await one()
  const { connection, manager } = await clientOf(server.url)
  await manager.streams.add(natsStoreStream())
  const store = natsStore(connection, manager)
  await store.get('any')
  const messages = async () => (await manager.streams.info('holdfast')).state.messages
  const before = await messages()
  for (const userId of ['anna', null]) {
    const left = new AbortController()
    const starting = store.put(record({ id: 'left', userId }), null, { signal: left.signal })
    left.abort(new Error('left'))
    await assert.rejects(starting, /left/)
  }
  assert.equal(await messages(), before)
})

test('a stream that is not there, or that forgets, is refused', async () => {
  const server = await one()
  const { connection, manager } = await clientOf(server.url)
  const store = natsStore(connection, manager)
  await assert.rejects(store.get('any'), (error) => error instanceof ConfigError && /streams\.add/.test(error.message))
  await manager.streams.add({ ...natsStoreStream(), max_age: 180e9 })
  await assert.rejects(store.get('any'), (error) => error instanceof ConfigError && /max_age/.test(error.message))
  await manager.streams.delete('holdfast')
  await manager.streams.add(natsStoreStream())
  assert.equal(await store.get('any'), null)
  assert.throws(() => natsStoreStream({ stream: 'a.b' }), /stream: expected letters/)
  assert.throws(() => natsStoreStream({ replicas: 0 }), /replicas: expected a whole number/)
})
