// Writes to Redis that count when replicas have them, over connections of our own: WAIT holds up the one it is sent on.
import { ConfigError } from '../errors.ts'
import { deadline } from './deadline.ts'
import { milliseconds, type Duration } from './duration.ts'
import { lookAnew } from './redis-topology.ts'

/** When a write to Redis counts: what is acknowledged is lost only with the primary and all of the replicas that confirmed it, or when another one is promoted. */
export interface RedisDurability {
  /** How many replicas must confirm: at least half of those that there are. */
  readonly replicas: number
  /** How long they have for it. Default `'200ms'`; a write may wait for the confirmation of another one first, so it takes up to twice that. */
  readonly timeout?: Duration | undefined
}

/** What `createClient`, `createClientPool`, `createSentinel` and `createCluster` of node-redis 6 give, by what leads to a primary. */
export interface RedisPrimaries {
  /** Of a pool. */
  execute?(use: never): Promise<unknown>
  /** Of a Cluster. */
  getNodeClientForKey?(key: string): Promise<object>
  /** Of a Sentinel. */
  getMasterNode?(): unknown
}

/** A client with one connection to one server. */
export interface Single {
  readonly options?: { readonly socket?: object }
  readonly isOpen: boolean
  withCommandOptions(o: object): object
  duplicate(o: object): this
  connect(): Promise<unknown>
  destroy(): void
  on(event: 'error' | 'end', listener: () => void): unknown
  unref(): void
  wait(replicas: number, timeoutMs: number): Promise<unknown>
}

/** An answer that takes longer doesn't come. */
export const patienceMs = 1_000

export interface Proof {
  readonly replicas: number
  readonly timeoutMs: number
}

/** `factory` is who asks, for the `ConfigError`. */
export function proofOf(factory: string, client: RedisPrimaries, o: RedisDurability): Proof {
  refuseKeyPrefix(factory, client)
  const timeoutMs = milliseconds('durability.timeout', o.timeout ?? '200ms')
  if (!Number.isSafeInteger(o.replicas) || o.replicas < 1) {
    throw new ConfigError(`durability.replicas: expected a whole number from 1, got ${o.replicas}`)
  }
  if (timeoutMs >= patienceMs) {
    throw new ConfigError(`durability.timeout: expected less than ${patienceMs} ms, got ${timeoutMs} ms`)
  }
  return { replicas: o.replicas, timeoutMs }
}

export function refuseKeyPrefix(factory: string, client: object): void {
  // oxlint-disable-next-line eslint/no-underscore-dangle -- what node-redis calls it
  if ('_keyPrefix' in client && client._keyPrefix !== undefined) {
    throw new ConfigError(`${factory}: the client has a keyPrefix, which not all of its connections apply; remove it`)
  }
}

/** Resolves when enough replicas have all that was written over this connection before. */
export async function confirm(connection: Single, { replicas, timeoutMs }: Proof): Promise<void> {
  const confirmed = Number(await connection.wait(replicas, timeoutMs))
  if (confirmed < replicas) {
    throw new Error(`Redis: ${confirmed} of ${replicas} replicas confirmed within ${timeoutMs} ms`)
  }
}

/** A primary that was cut off takes commands and never answers. */
const soon = deadline(500)

/**
 * A client of the server that takes writes to `key` now. It is shared: only to be duplicated. `learn` sends any command about the key: after
 * a failover of a Cluster it is redirected, and the client learns of it.
 */
export async function primaryOf(
  client: RedisPrimaries,
  key: string,
  learn: (key: string) => Promise<unknown>,
): Promise<Single> {
  const itself = async (one: unknown) => one
  if (client.getNodeClientForKey !== undefined) {
    await soon(() => learn(key)).catch((error: unknown) => {
      lookAnew(client)
      throw error
    })
    return (await client.getNodeClientForKey(key)) as Single
  }
  if (client.getMasterNode !== undefined) {
    // What `use` gives may change servers unseen; and it waits until nobody else uses the client.
    const sentinel = client as unknown as { _execute(isReadonly: boolean, use: typeof itself): Promise<unknown> }
    // oxlint-disable-next-line eslint/no-underscore-dangle -- what node-redis calls it
    return (await sentinel._execute(false, itself)) as Single
  }
  // A pool closes connections that it has no use for, and ours must not go with them: so from a copy that never connects.
  if (client.execute !== undefined) return ((await client.execute(itself as never)) as Single).duplicate({})
  return client as unknown as Single
}

/** The open connections made from one, which has a single listener for them. */
const made = new WeakMap<Single, Set<Single>>()

/** A connection of our own to the server of `source`, which closes with it. It breaks for good: a new one may lead to another server. */
export async function ownConnection(source: Single): Promise<Single> {
  const connection = source.duplicate({
    url: undefined,
    socket: { ...source.options?.socket, reconnectStrategy: false, socketTimeout: undefined },
    commandOptions: { timeout: undefined },
    clientSideCache: undefined,
    maintNotifications: 'disabled',
    pingInterval: undefined,
  })
  let others = made.get(source)
  if (others === undefined) {
    const all = (others = new Set<Single>())
    made.set(source, all)
    source.on('end', () => all.forEach(close))
  }
  others.add(connection)
  connection.on('end', () => others.delete(connection))
  connection.on('error', () => {})
  // Whoever closes the client is done.
  connection.unref()
  try {
    await connection.connect()
  } catch (error) {
    close(connection)
    throw error
  }
  return connection
}

export function close(connection: Single): void {
  if (connection.isOpen) connection.destroy()
}

/** Runs `call` on the primary of `key`, and resolves when enough replicas have what it wrote: it must write something. */
export type Confirmed<Commands> = <T>(key: string, call: (to: Commands) => Promise<T>) => Promise<T>

/**
 * One connection per primary, opened by the first write, closed with the client that it was made from, replaced whenever something
 * fails. A rejection leaves unknown what was written.
 */
export function confirmedWrites<Commands>(o: {
  readonly client: RedisPrimaries
  readonly proof: Proof
  readonly learn: (key: string) => Promise<unknown>
  readonly commandsOf: (connection: Single) => Commands
}): Confirmed<Commands> {
  const { client } = o
  const within = deadline(patienceMs)
  /** In a Cluster by the client's own connection to the primary, elsewhere by the client. */
  const open = new WeakMap<object, Promise<Writer<Commands>>>()

  async function writer(key: string): Promise<Writer<Commands>> {
    const known = open.get((await client.getNodeClientForKey?.(key)) ?? client)
    if (known !== undefined) return known
    const source = await primaryOf(client, key, o.learn)
    const place = client.getNodeClientForKey === undefined ? client : source
    const already = open.get(place)
    if (already !== undefined) return already
    const opening = opened(source, () => open.get(place) === opening && open.delete(place))
    open.set(place, opening)
    return opening
  }

  async function opened(source: Single, forget: () => void): Promise<Writer<Commands>> {
    try {
      return writerOn(await ownConnection(source), forget)
    } catch (error) {
      forget()
      throw error
    }
  }

  function writerOn(connection: Single, forget: () => void): Writer<Commands> {
    const commands = o.commandsOf(connection)
    let users = 0
    let isRetired = false
    let under: Promise<unknown> = Promise.resolve()
    let next: Promise<void> | null = null

    /** While one WAIT is under way, all who come share the next: it confirms all that was written before it. */
    function confirmed(): Promise<void> {
      next ??= under.then(() => {
        next = null
        const answer = confirm(connection, o.proof)
        under = answer.catch(() => {})
        return answer
      })
      return next
    }

    /** Whatever failed, the next one begins with a connection to whoever is the primary then. */
    function retire(): void {
      forget()
      isRetired = true
    }
    connection.on('end', retire)

    return async (call) => {
      users++
      try {
        return await within(async () => {
          const answer = await call(commands)
          await confirmed()
          return answer
        })
      } catch (error) {
        retire()
        throw error
      } finally {
        if (--users === 0 && isRetired) close(connection)
      }
    }
  }

  return async (key, call) => (await within(() => writer(key)))(call)
}

type Writer<Commands> = <T>(call: (to: Commands) => Promise<T>) => Promise<T>
