// The store of those who keep everything in the client's hands: every write succeeds, and there is nothing to read.
import { ConfigError } from '../errors.ts'
import type { Store } from '../store.ts'

export const noStore: Store = {
  get: async () => null,
  put: async () => true,
  delete: async (ids) => ids,
  async listByUser() {
    throw new ConfigError(
      "sealed credentials keep no list of a user's sessions; use a store to list or end them by user",
    )
  },
}
