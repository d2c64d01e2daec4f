// Holdfast as the contenders use it: defaults, and one section with a schema.
import { createSessions } from 'holdfast'
import { connectRedis, variant } from './contender.ts'
import { profile } from './person.ts'

export const sessions = createSessions({ store: await store(), data: { profile } })

/** Only what the variant needs is loaded. */
async function store() {
  if (variant === 'memory') return (await import('holdfast/stores/memory')).memoryStore()
  return (await import('holdfast/stores/redis')).redisStore(await connectRedis())
}
