// What all services of the shop share: where the sessions are, what roles grant, and the keys with which one service calls another.
import { keyring } from 'holdfast/credentials/keyring'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { createClient } from 'redis'

export const port = Number(env('PORT'))

export const redis = createClient({
  url: env('REDIS_URL'),
  disableOfflineQueue: true,
  socket: { reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 500) },
})
let isConnected = true
redis.on('error', ({ message }: Error) => {
  // Once, and not with each of the attempts that follow.
  if (isConnected) console.error(`Redis: ${message}`)
  isConnected = false
})
redis.on('ready', () => {
  if (!isConnected) console.log('Redis: connected again')
  isConnected = true
})
await redis.connect()

/** Each service adds the sections of the session that it uses, if any; it leaves those of the others as they are. */
export const shared = {
  store: redisStore(redis),
  feed: redisFeed(redis),
  lifetime: { idle: '30m', absolute: '12h' },
  roles: { shopper: ['orders:read', 'orders:write'], clerk: ['orders:*'] },
} as const

/** For `assertionCredentials`, with the name of the service. */
export const chain = {
  issuer: 'https://shop.example',
  keys: keyring({
    store: redisStore(redis, { prefix: 'keys:' }),
    secret: env('KEYS_SECRET'),
    onChange: () => shared.feed.publish({ kind: 'keys' }),
  }),
}

export function env(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set`)
  return value
}
