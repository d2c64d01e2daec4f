// Bytes of a session in Redis, beside connect-redis with the same content.
import { createRequire } from 'node:module'
import { redisStore } from 'holdfast/stores/redis'
import { connectRedis } from './contender.ts'
import { address, amr, person, roles } from './person.ts'
import { inBatches, recordMaker } from './records.ts'
import type { BenchRedis } from './redis.ts'
import { round } from './report.ts'

export interface Bytes {
  readonly name: string
  readonly bytesPerSession: number
}

/** With so many sessions. Empties that Redis before each layout. */
export async function besideConnectRedis(redis: BenchRedis, sessions: number): Promise<readonly Bytes[]> {
  const client = await connectRedis('none', redis.url)
  const store = redisStore(client)
  const make = recordMaker()
  const put = (perUser: number) => async (n: number) => void (await store.put(await make(n, perUser), null))
  const hour = { type: 'EX', value: 3600 } as const
  const layouts: readonly (readonly [string, (n: number) => Promise<void>])[] = [
    ['Holdfast, one session per user', put(1)],
    ['Holdfast, four sessions per user', put(4)],
    ['connect-redis, the same content without index and credential', connectRedisSession(client)],
    ['an empty key with expiry', async (n) => void (await client.set(sessionKey(n), '', { expiration: hour }))],
  ]
  const results: Bytes[] = []
  for (const [name, add] of layouts) {
    await redis.empty()
    const before = await redis.usedMemory()
    await inBatches(0, sessions, add)
    const bytesPerSession = round(((await redis.usedMemory()) - before) / sessions, 1)
    console.log(`${name}: ${bytesPerSession} bytes`)
    results.push({ name, bytesPerSession })
  }
  client.destroy()
  return results
}

/** As long as the ids of connect-redis's sessions with its default prefix, and as those of Holdfast. */
function sessionKey(n: number): string {
  return `hf:s:${String(n).padStart(22, '0')}`
}

/** Their session of the same user with the same roles, device and data. */
function connectRedisSession(client: object): (n: number) => Promise<void> {
  const require = createRequire(import.meta.url)
  const { RedisStore } = require('connect-redis') as { RedisStore: new (o: object) => TheirStore }
  const theirs = new RedisStore({ client })
  const originalMaxAge = 30 * 60_000
  return (n) => {
    const { userId, data } = person(n)
    const cookie = {
      originalMaxAge,
      expires: new Date(Date.now() + originalMaxAge),
      httpOnly: true,
      secure: true,
      sameSite: 'lax',
      path: '/',
    }
    const device = { browser: 'Chrome 140', system: 'Windows', address }
    return theirs.set(String(n).padStart(32, '0'), { cookie, userId, roles, amr, device, data: { profile: data } })
  }
}

interface TheirStore {
  set(id: string, session: object): Promise<void>
}
