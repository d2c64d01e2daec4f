// What a store on NATS believes of a leader that the other servers no longer follow.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { clientOf, cluster, makeStream, untilAnswered } from '../nats-fixtures.ts'
import { record } from './record.ts'

test('a leader that was cut off is not believed that a session is not there, has expired, or is on no list', async () => {
  const { servers, urls } = await cluster()
  const admin = await clientOf(urls)
  await makeStream(natsStoreStream({ replicas: 3 }), admin)
  const { leader } = (await admin.manager.streams.info('holdfast')).cluster!
  const others = servers.filter(({ name }) => name !== leader)
  const { connection, manager } = await clientOf(servers.find(({ name }) => name === leader)!.url)
  const store = natsStore(connection, manager)
  const later = natsStore(connection, manager, { clock: { now: () => Date.now() + 7_200_000 } })
  await store.put(record({ id: 'live', userId: 'anna' }), null)
  await store.put(record({ id: 'ended' }), null)
  await store.delete(['ended'])
  await later.get('live')
  for (const other of others) other.pause()
  try {
    // It still thinks that it leads, and answers what it can know.
    assert.equal((await store.get('live'))?.version, 1)
    assert.equal(await store.get('ended'), null)
    await Promise.all([
      assert.rejects(store.get('started-elsewhere')),
      assert.rejects(store.delete(['started-elsewhere'])),
      assert.rejects(store.put(record({ id: 'started-elsewhere', version: 2 }), 1)),
      assert.rejects(later.get('live')),
      assert.rejects(store.listByUser('anna')),
    ])
  } finally {
    for (const other of others) other.resume()
  }
  assert.equal(await untilAnswered(() => store.get('started-elsewhere')), null)
})
