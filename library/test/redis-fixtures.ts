// Redis for the tests of its store and of its feed: servers, clients, and contracts on two clients.
import { after, before, describe } from 'node:test'
import { startRedis } from '../../scripts/servers/redis.ts'
import type { Server } from '../../scripts/servers/server.ts'

/** Whatever a test starts is stopped when it is over. */
export const endings: (() => unknown)[] = []
after(async () => {
  for (const end of endings.toReversed()) await end()
})

export async function redis(settings: Record<string, string> = {}): Promise<Server> {
  const server = await startRedis({ settings })
  endings.push(server.stop)
  return server
}

export interface Client {
  connect(): Promise<unknown>
  destroy(): unknown
  on(event: 'error', listener: () => void): unknown
}

/** The same client, which has a connection, and loses it when the tests are over. */
export async function connected<C extends Client>(client: C): Promise<C> {
  await opened(client)
  endings.push(() => client.destroy())
  return client
}

async function opened<C extends Client>(client: C): Promise<C> {
  client.on('error', () => {})
  await client.connect()
  return client
}

/** What a contract is asked on. */
export interface Engine<C extends Client> {
  client(): C
  stop(): Promise<void>
}

/** A contract on two clients that all its tests share; each test has a prefix of its own. */
export function onRedis<C extends Client>(
  name: string,
  start: () => Promise<Engine<C>>,
  contract: (fresh: () => { one: C; two: C; prefix: string }) => void,
): void {
  describe(name, () => {
    const clients: C[] = []
    let tests = 0
    let stop = async () => {}
    before(async () => {
      const engine = await start()
      stop = engine.stop
      for (let i = 0; i < 2; i++) clients.push(await opened(engine.client()))
    })
    after(async () => {
      for (const client of clients) client.destroy()
      await stop()
    })

    contract(() => {
      const [one, two] = clients as [C, C]
      return { one, two, prefix: `test${process.pid}-${tests++}:` }
    })
  })
}
