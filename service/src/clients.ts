// The clients of the service: kept in a store of the same engine as the sessions, so every engine has them.
import { hash, randomBytes } from 'node:crypto'
import { StoreUnavailableError, type ScannableStore, type SessionRecord } from 'holdfast'
import { clientId, type Client } from './permissions.ts'
import { inTime } from './engines/in-time.ts'
import { ownRecord, recordId } from './own-record.ts'

/** Clients as operators handle them. Rejects when the engine fails. */
export interface ClientRegistry {
  find(id: string): Promise<Client | null>
  /** The secret, which is shown this once; `null` when there is such a client already. */
  add(id: string, permissions: readonly string[]): Promise<string | null>
  /** Whether there was one. */
  remove(id: string): Promise<boolean>
  /** By id. */
  list(): Promise<readonly Client[]>
}

/** `null`: no such client. Throws or rejects when the engine fails. Answers at once when it was asked about not long ago. */
export type FindClient = (id: string) => Client | null | Promise<Client | null>

/** For how long a client's permissions, or its absence, are believed. Also the bound after which a removed one is refused. */
export const clientCacheMs = 1000

/** So long after a look-up failed, no other is tried. */
const clientRetryMs = 500

/** The name of the client that is there without being added. */
export const adminId = 'admin'

/** What signed tokens say where no client began the session; nobody may be called so. */
export const tokensClient = 'holdfast'

export function clientRegistry(store: ScannableStore): ClientRegistry {
  return {
    async find(id) {
      const record = await inTime(store.get(recordId(id)))
      return record === null ? null : fromRecord(record)
    },
    async add(id, permissions) {
      const secret = randomBytes(32).toString('base64url')
      const record = ownRecord(id, { id, permissions }, null, { userId: listedAs, credential: hashSecret(secret) })
      return (await inTime(store.put(record, null))) ? secret : null
    },
    async remove(id) {
      return (await inTime(store.delete([recordId(id)]))).length > 0
    },
    async list() {
      const clients = (await inTime(store.listByUser(listedAs))).map(fromRecord)
      return clients.toSorted((a, b) => (a.id < b.id ? -1 : 1))
    },
  }
}

/** Looks clients up, each at most once per `clientCacheMs`, however many requests want it. `admin` is always there. */
export function cachedClients(
  registry: ClientRegistry,
  admin: Client,
  now: () => number = () => performance.now(),
): FindClient {
  const cache = new Map<string, { at: number; client: Client | null | Promise<Client | null> }>()

  let failedAt = -Infinity
  let failure: unknown

  return (id) => {
    if (id === adminId) return admin
    if (!clientId.test(id)) return null
    // Counted from before the store is asked: what it answers may be as old as that.
    const at = now()
    const cached = cache.get(id)
    if (cached !== undefined && at - cached.at < clientCacheMs) return cached.client
    // A store that is away is asked now and then, not by every call, which would wait for its deadline.
    if (at - failedAt < clientRetryMs) {
      throw new StoreUnavailableError('clients could not be looked up a moment ago', clientRetryMs, failure)
    }
    // Names that nobody has must not fill the memory. The first is the one that was asked for longest ago.
    cache.delete(id)
    if (cache.size >= maxCached) cache.delete(cache.keys().next().value!)
    const entry: { at: number; client: Client | null | Promise<Client | null> } = { at, client: null }
    entry.client = registry.find(id).then(
      (client) => (entry.client = client),
      (error: unknown) => {
        failedAt = now()
        failure = error
        if (cache.get(id) === entry) cache.delete(id)
        throw error
      },
    )
    cache.set(id, entry)
    return entry.client
  }
}

/** Secrets are random and long, so a fast hash keeps them as well as a slow one would. */
export function hashSecret(secret: string): string {
  return hash('sha256', secret, 'base64url')
}

/** What a client's record has in place of a user. */
const listedAs = 'client'
const maxCached = 10_000

function fromRecord({ identity, credential }: SessionRecord): Client {
  const { id, permissions } = JSON.parse(identity) as { id: string; permissions: string[] }
  return { id, permissions: new Set(permissions), secretHash: credential }
}
