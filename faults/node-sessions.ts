// The sessions of one verifying process: on Redis, under Sentinel, or through a service.
import { connectSessions, createSessions, opaqueCredentials, type Sessions } from 'holdfast'
import { keyring } from 'holdfast/credentials/keyring'
import { signedCredentials } from 'holdfast/credentials/signed'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { createClient, createSentinel } from 'redis'
import { planted } from './bugs.ts'
import { disturbedFeed, type Disturbance } from './disturbed-feed.ts'
import type { NodeConfig, Reach } from './node-protocol.ts'
import type { Random } from './random.ts'

export const boundMs = 1_000

export type AnySessions = Sessions<Record<string, unknown>>

export async function sessionsOf(config: NodeConfig, random: Random, disturbance: Disturbance): Promise<AnySessions> {
  const { reach, bug, issuer, secret } = config
  const maxStaleness = `${boundMs}ms` as const
  if (reach.kind === 'service') return connectSessions({ ...reach, issuer, maxStaleness })
  const { client, durability } = await connect(reach)
  const engine = { store: redisStore(client), feed: redisFeed(client, durability) }
  const { store, feed } = planted(bug, engine, random, config.name.startsWith('direct-0'))
  const keys = keyring({
    // Where the services have theirs.
    store: redisStore(client, { prefix: 'hfc:' }),
    secret,
    onChange: () => feed.publish({ kind: 'keys' }),
  })
  await keys.maintain()
  return createSessions({
    store,
    feed: disturbedFeed(feed, disturbance, random),
    credentials: [opaqueCredentials(), signedCredentials({ issuer, audience: issuer, keys })],
    maxStaleness,
  })
}

const socket = { connectTimeout: 1_000, socketTimeout: 5_000, reconnectStrategy: () => 100 }
const common = { disableOfflineQueue: true, pingInterval: 2_000, maintNotifications: 'disabled' as const }
const commandOptions = { timeout: undefined as never }

async function connect(reach: Exclude<Reach, { kind: 'service' }>) {
  // What becomes of an outage is in the history.
  const ignore = () => {}
  if (reach.kind === 'redis') {
    const client = createClient({
      ...common,
      socket: { ...socket, host: '127.0.0.1', port: reach.port },
      commandOptions,
    })
    await client.on('error', ignore).connect()
    return { client, durability: {} }
  }
  const client = createSentinel({
    name: reach.name,
    sentinelRootNodes: [...reach.sentinels],
    nodeClientOptions: { ...common, socket },
    sentinelClientOptions: { ...common, socket },
    nodeAddressMap: (address) => {
      const port = Number(address.slice(address.lastIndexOf(':') + 1))
      return { host: '127.0.0.1', port: reach.links[port] ?? port }
    },
    commandOptions,
    passthroughClientErrorEvents: true,
    masterPoolSize: 2,
  })
  await client.on('error', ignore).on('client-error', ignore).connect()
  return { client, durability: { durability: { replicas: 1 } } }
}
