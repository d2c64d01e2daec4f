// NATS for the tests of its store and of its feed: servers, clients, and streams that are there for all of them.
import { after, before, describe } from 'node:test'
import { JetStreamApiError, jetstreamManager, type JetStreamManager, type StreamInfo } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import type { natsStoreStream } from 'holdfast/stores/nats'
import { startNats, startNatsCluster, type NatsCluster, type NatsServer } from '../../scripts/servers/nats.ts'

/** Whatever a test starts is stopped when it is over. */
export const endings: (() => unknown)[] = []
after(async () => {
  for (const end of endings.toReversed()) await end()
})

type StreamConfig = ReturnType<typeof natsStoreStream>

export interface Client {
  readonly connection: NatsConnection
  readonly manager: JetStreamManager
}

/** Stays with the servers that it is given, and waits for each answer, by default, as long as applications are told to. */
export async function clientOf(servers: string | readonly string[], o: { timeout?: number } = {}): Promise<Client> {
  const { timeout = 1_000 } = o
  const connection = await connect({
    servers: [servers].flat(),
    ignoreClusterUpdates: true,
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    timeout,
  })
  endings.push(() => connection.close())
  return { connection, manager: await jetstreamManager(connection, { timeout }) }
}

export async function one(): Promise<NatsServer> {
  const server = await startNats()
  endings.push(server.stop)
  return server
}

export async function cluster(): Promise<NatsCluster> {
  const started = await startNatsCluster()
  endings.push(started.stop)
  return started
}

/**
 * Makes a stream, and resolves when each of the clients reaches it: a server of a cluster hears only a moment after the stream was made where what is
 * published for it has to go, and until then says that nobody is there.
 */
export async function makeStream(config: StreamConfig, ...clients: readonly Client[]): Promise<StreamInfo> {
  const [{ manager }] = clients as [Client]
  const info = await manager.streams.add(config)
  await Promise.all(clients.map((client) => untilReached(client, config.name)))
  return info
}

const wrongLastSequence = 10071

/** By a message that the stream refuses, since there is none yet that it could come after. */
async function untilReached({ manager }: Client, stream: string): Promise<void> {
  const publisher = manager.jetstream()
  for (const until = Date.now() + 30_000; ;) {
    try {
      await publisher.publish(`${stream}.any`, '', { expect: { lastSequence: 1 } })
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === wrongLastSequence) return
      if (Date.now() > until) throw error
    }
    // NATS has no event for this; 5 ms between two looks.
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A stream of a test's own, and two clients, in a cluster of different servers. */
export interface Fresh {
  readonly one: Client
  readonly two: Client
  readonly stream: string
  close(): Promise<void>
}

/** A contract on one server, and on a cluster of three: on two connections that all its tests share; each test has a stream of its own. */
export function onNats(
  configOf: (o: { stream: string; replicas: number }) => StreamConfig,
  contract: (name: string, fresh: () => Promise<Fresh>) => void,
): void {
  const alone = async () => {
    const { url, stop } = await startNats()
    return { urls: [url, url], stop }
  }
  for (const [name, replicas, start] of [
    ['nats', 1, alone],
    ['nats cluster', 3, startNatsCluster],
  ] as const) {
    describe(name, () => {
      const clients: Client[] = []
      let stop = async () => {}
      let tests = 0

      before(async () => {
        const engine = await start()
        stop = engine.stop
        // Longer than an answer takes on a busy machine: nothing here is about outages.
        for (const url of engine.urls.slice(0, 2)) clients.push(await clientOf(url, { timeout: 10_000 }))
      })
      after(async () => {
        for (const { connection } of clients) await connection.close()
        await stop()
      })

      contract(name, async () => {
        const [one, two] = clients as [Client, Client]
        const stream = `test${process.pid}-${tests++}`
        await makeStream(configOf({ stream, replicas }), one, two)
        return { one, two, stream, close: async () => void (await one.manager.streams.delete(stream)) }
      })
    })
  }
}

/** Resolves with the first answer. */
export async function untilAnswered<T>(call: () => Promise<T>): Promise<T> {
  for (const until = Date.now() + 60_000; ;) {
    try {
      return await call()
    } catch (error) {
      if (Date.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
