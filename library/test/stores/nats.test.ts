// The contract on NATS: one server, and a cluster of three.
import { after, before, describe, test } from 'node:test'
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { fakeClock, testStore, type StoreUnderTest } from 'holdfast/testing'
import { startNats, startNatsCluster } from '../../../scripts/servers/nats.ts'

interface Engine {
  readonly urls: readonly string[]
  readonly replicas: number
  stop(): Promise<void>
}

interface Client {
  readonly connection: NatsConnection
  readonly manager: JetStreamManager
}

async function clientOf(...servers: string[]): Promise<Client> {
  const connection = await connect({ servers, noAsyncTraces: true, maxReconnectAttempts: -1, reconnectTimeWait: 50 })
  return { connection, manager: await jetstreamManager(connection, { timeout: 1_000 }) }
}

/** The contract, on two connections that all its tests share; each test has a stream of its own. */
function contractOn(name: string, start: () => Promise<Engine>): void {
  describe(name, () => {
    const clients: Client[] = []
    let engine: Engine
    let tests = 0

    before(async () => {
      engine = await start()
      const [one, two = one!] = engine.urls
      for (const url of [one!, two]) clients.push(await clientOf(url))
    })
    after(async () => {
      for (const { connection } of clients) await connection.close()
      await engine.stop()
    })

    const make = async (o: { clock?: ReturnType<typeof fakeClock> }): Promise<StoreUnderTest> => {
      const stream = `test${process.pid}-${tests++}`
      const [one, two] = clients as [Client, Client]
      await one.manager.streams.add(natsStoreStream({ stream, replicas: engine.replicas }))
      return {
        store: natsStore(one.connection, one.manager, { stream, ...o }),
        another: () => natsStore(two.connection, two.manager, { stream, ...o }),
        close: async () => void (await one.manager.streams.delete(stream)),
        ...o,
      }
    }
    testStore(name, () => make({ clock: fakeClock(Date.now()) }), { test })
    testStore(`${name}, in real time`, () => make({}), { test })
  })
}

contractOn('nats', async () => {
  const server = await startNats()
  return { urls: [server.url], replicas: 1, stop: server.stop }
})

contractOn('nats cluster', async () => {
  const { urls, stop } = await startNatsCluster()
  return { urls, replicas: 3, stop }
})
