// An application finds the same sessions on a store, with and without a feed, and behind the session service.
import { after, before, describe, test } from 'node:test'
import { createClient } from 'redis'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateKeyPairSync } from 'node:crypto'
import { connectSessions, createSessions, opaqueCredentials } from 'holdfast'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import { staticKeys } from 'holdfast/credentials/keys'
import { redisFeed } from 'holdfast/feeds/redis'
import { memoryStore } from 'holdfast/stores/memory'
import { redisStore } from 'holdfast/stores/redis'
import { testSessions } from 'holdfast/testing'
import { startRedis } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { clientId, clientSecret, startService } from './service.ts'

/** Nothing is cached before the feed was read. */
async function following(all: readonly Pick<ReturnType<typeof createSessions>, 'status'>[]): Promise<void> {
  while (!all.every((sessions) => sessions.status()?.fresh)) await sleep(5)
}

const jwk = { ...generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }), kid: 'one', alg: 'EdDSA' }
const service = 'shop'
/** Nothing here is about outages, and a busy machine takes its time. */
const deadline = '5s'
const credentials = [
  opaqueCredentials(),
  assertionCredentials({ issuer: 'https://accounts.example', service, keys: staticKeys({ keys: [jwk] }) }),
]

testSessions(
  'on a memory store',
  (o) => {
    const store = memoryStore()
    const sessions = createSessions({ ...o, store, credentials })
    return {
      sessions,
      another: () => createSessions({ ...o, store, credentials }),
      service,
      close: () => sessions.close(),
    }
  },
  { test },
)

describe('on Redis', () => {
  let redis: Server
  let client: ReturnType<typeof createClient>
  before(async () => {
    redis = await startRedis()
    client = createClient({ url: redis.url })
    await client.connect()
  })
  after(async () => {
    client.destroy()
    await redis.stop()
  })

  testSessions(
    'with a feed',
    async (o) => {
      const make = () =>
        createSessions({ ...o, store: redisStore(client), feed: redisFeed(client), credentials, deadline })
      const both = [make(), make()] as const
      await following(both)
      return {
        sessions: both[0],
        another: () => both[1],
        maxStalenessMs: 1000,
        service,
        close: () => both.forEach((sessions) => sessions.close()),
      }
    },
    { test },
  )
})

describe('behind the session service', () => {
  let redis: Server
  let services: readonly [Server, Server]
  before(async () => {
    redis = await startRedis()
    // What they call themselves is not where they are: clients ask them who issues their tokens.
    const env = { HOLDFAST_ISSUER: 'https://accounts.example' }
    services = await Promise.all([startService({ store: redis.url, env }), startService({ store: redis.url, env })])
  })
  after(async () => {
    await Promise.all(services.map((service) => service.stop()))
    await redis.stop()
  })

  for (const [name, second] of [
    ['one replica', 0],
    ['two replicas', 1],
  ] as const) {
    testSessions(
      name,
      async (o) => {
        const connect = ({ url }: Server) => connectSessions({ ...o, url, clientId, clientSecret, deadline })
        const both = [connect(services[0]), connect(services[second])] as const
        await following(both)
        return {
          sessions: both[0],
          another: () => both[1],
          maxStalenessMs: 1000,
          signed: true,
          service: clientId,
          close: () => both.forEach((sessions) => sessions.close()),
        }
      },
      { test },
    )
  }
})
