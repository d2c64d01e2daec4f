// NATS for the tests of its store, and the clients and sessions that they use.
import { after } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { SessionRecord } from 'holdfast'
import { startNats, startNatsCluster, type NatsServer } from '../../../scripts/servers/nats.ts'

/** Whatever a test starts is stopped when it is over. */
const endings: (() => unknown)[] = []
after(async () => {
  for (const end of endings.toReversed()) await end()
})

export async function clientOf(...servers: string[]) {
  const connection = await connect({
    servers,
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    timeout: 1_000,
    pingInterval: 500,
  })
  endings.push(() => connection.close())
  return { connection, manager: await jetstreamManager(connection, { timeout: 1_000 }) }
}

export type Client = Awaited<ReturnType<typeof clientOf>>

export async function one(): Promise<NatsServer> {
  const server = await startNats()
  endings.push(server.stop)
  return server
}

export async function alone() {
  const server = await one()
  return { servers: [server], urls: [server.url] }
}

export async function cluster() {
  const started = await startNatsCluster()
  endings.push(started.stop)
  return started
}

export function record(id: string, o: Partial<SessionRecord> = {}): SessionRecord {
  const now = Date.now()
  return {
    id,
    userId: 'ada',
    credential: '',
    identity: '{}',
    data: '0',
    createdAt: now,
    seenAt: now,
    expiresAt: now + 3_600_000,
    epoch: 0,
    version: 1,
    ...o,
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
