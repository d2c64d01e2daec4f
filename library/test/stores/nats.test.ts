// The contract on NATS: one server, and a cluster of three.
import { test } from 'node:test'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { fakeClock, testStore } from 'holdfast/testing'
import { onNats } from '../nats-fixtures.ts'

onNats(natsStoreStream, (name, fresh) => {
  const make = async (o: { clock?: ReturnType<typeof fakeClock> }) => {
    const { one, two, stream, close } = await fresh()
    const store = natsStore(one.connection, one.manager, { stream, ...o })
    return { store, another: () => natsStore(two.connection, two.manager, { stream, ...o }), close, ...o }
  }
  testStore(name, () => make({ clock: fakeClock(Date.now()) }), { test })
  testStore(`${name}, in real time`, () => make({}), { test })
})
