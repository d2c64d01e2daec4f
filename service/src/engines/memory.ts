// Sessions in the memory of the service: gone when it stops, seen by no other replica.
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import type { Engine } from './engine.ts'

export function memoryEngine(): Engine {
  return {
    sessions: memoryStore(),
    clients: memoryStore(),
    feed: memoryFeed(),
    async inspect() {
      return [
        {
          what: 'store in memory',
          ok: true,
          found: 'sessions and clients are lost when the service stops, and not shared between replicas',
          advice: 'unset HOLDFAST_STORE to keep them in a file, or set it to a redis:// URL',
        },
      ]
    },
    async close() {},
  }
}
