// Sessions in Redis or Valkey: one server, Sentinel or Cluster, shared by any number of replicas.
import { createClient, createCluster, createSentinel } from 'redis'
import { redisFeed, type RedisFeedClient } from 'holdfast/feeds/redis'
import { redisFindings, redisStore, type RedisStoreClient } from 'holdfast/stores/redis'
import { StartError } from '../start-error.ts'
import type { ConnectionChanged, Engine, OpenFeed } from './engine.ts'
import { isUntrusted } from './explained.ts'
import type { StoreUrl } from './store-url.ts'
import { connectTimeoutMs, pingEveryMs, silenceMs } from './timeouts.ts'

type RedisUrl = Extract<StoreUrl, { kind: `redis${string}` }>

/** One connected client of any kind, by what is used of it. */
interface Connection {
  readonly client: RedisStoreClient & RedisFeedClient
  close(): void
}

/** For all that it takes until there is a connection. */
const startWithinMs = 4_000

export async function redisEngine(url: RedisUrl, changed: ConnectionChanged): Promise<Engine> {
  const { client, close } = await connect(url, onlyChanges(changed), 'HOLDFAST_STORE')
  return {
    sessions: redisStore(client, durable(url)),
    clients: redisStore(client, { prefix: 'hfc:', ...durable(url) }),
    feed: redisFeed(client, durable(url)),
    inspect: () => redisFindings(client),
    close: async () => close(),
  }
}

/** A feed on another Redis than the sessions. */
export async function openRedisFeed(url: RedisUrl, changed: ConnectionChanged): Promise<OpenFeed> {
  const { client, close } = await connect(url, onlyChanges(changed), 'HOLDFAST_FEED')
  return { feed: redisFeed(client, durable(url)), close: async () => close() }
}

function durable({ replicas }: RedisUrl): { durability?: { replicas: number } } {
  return replicas === 0 ? {} : { durability: { replicas } }
}

async function connect(url: RedisUrl, whenChanged: ConnectionChanged, setting: string): Promise<Connection> {
  // While starting, a failure is the answer; later it is an outage, and connections are made again until it ends.
  let started = false
  const changed: ConnectionChanged = (cause) => {
    if (started) whenChanged(cause)
  }
  const socket = {
    connectTimeout: connectTimeoutMs,
    socketTimeout: silenceMs,
    reconnectStrategy: (retries: number, cause: Error) => (started ? backOff(retries) : cause),
  }
  const common = { disableOfflineQueue: true, pingInterval: pingEveryMs, maintNotifications: 'disabled' as const }
  // node-redis makes an AbortSignal per command unless told not to, which costs more than the command; deadlines are ours.
  const commandOptions = { timeout: undefined as never }
  const connection = await make()
  started = true
  return connection

  async function make(): Promise<Connection> {
    if (url.kind === 'redis') {
      const client = createClient({ ...common, url: url.url, socket, commandOptions })
      client.on('error', changed).on('ready', () => changed(null))
      await orExplain(
        () => client.connect(),
        () => client.destroy(),
      )
      return { client, close: () => client.destroy() }
    }
    const { username, password, tls } = url
    const node = {
      ...common,
      ...defined({ username, password }),
      socket: tls ? { ...socket, tls: true as const } : socket,
    }
    if (url.kind === 'redis-cluster') {
      const client = createCluster({
        rootNodes: url.nodes.map(({ host, port }) => ({ url: `redis${tls ? 's' : ''}://${bracketed(host)}:${port}` })),
        defaults: node,
        commandOptions,
        topologyRefreshOnReconnectionAttemptStrategy: 200,
      })
      client
        .on('error', changed)
        .on('node-error', changed)
        .on('node-ready', () => changed(null))
      await orExplain(
        () => client.connect(),
        () => client.destroy(),
      )
      return { client, close: () => client.destroy() }
    }
    const client = createSentinel({
      name: url.name,
      sentinelRootNodes: [...url.nodes],
      nodeClientOptions: node,
      sentinelClientOptions: { ...common, socket: node.socket },
      commandOptions,
      passthroughClientErrorEvents: true,
      // One connection for all, kept from the start. Of a pool from which connections are lent node-redis loses some when calls come at once, and
      // those that wait for them are never answered.
      reserveClient: true,
    })
    client
      .on('error', changed)
      .on('client-error', changed)
      .on('topology-change', () => changed(null))
    await orExplain(
      () => client.connect(),
      () => client.destroy(),
    )
    return { client, close: () => void client.destroy() }
  }

  async function orExplain(connecting: () => Promise<unknown>, destroy: () => unknown): Promise<void> {
    try {
      await withTimeout(connecting())
    } catch (error) {
      try {
        await destroy()
      } catch {
        // It never opened.
      }
      throw new StartError(`${setting}: ${explain(url, error)}`, error)
    }
  }
}

function backOff(retries: number): number {
  // Small and never the same, so that replicas don't come back all at once.
  return Math.min(50 * 2 ** Math.min(retries, 5), 1000) * (0.75 + Math.random() / 2)
}

/** Sentinel and Cluster have ways of their own to look for servers for a long time. */
function withTimeout<T>(connecting: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('no answer')), startWithinMs)
  return Promise.race([connecting, promise]).finally(() => clearTimeout(timer))
}

function explain({ shown, kind }: RedisUrl, error: unknown): string {
  const said = causes(error)
  const texts = said.join(' ')
  if (/NOAUTH/.test(texts))
    return `Redis at ${shown} asks for a password: put it into the URL, as redis://:<password>@<host>:<port>`
  if (/WRONGPASS|invalid password/i.test(texts))
    return `Redis at ${shown} does not accept the user name or password of the URL: correct them`
  if (/NOPERM/.test(texts))
    return `the Redis user at ${shown} may not run the commands that are needed: allow +@read +@write +@scripting +@connection +info`
  if (/cluster support disabled/i.test(texts)) return `Redis at ${shown} is no cluster: use redis://<host>:<port>`
  const untrusted = said.find(isUntrusted)
  if (untrusted !== undefined)
    return `Redis at ${shown} shows a certificate that is not trusted (${untrusted}): name its CA in NODE_EXTRA_CA_CERTS, and the host as the certificate has it`
  const why = /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ECONNRESET/.exec(texts)?.[0]
  const advice =
    kind === 'redis-sentinel'
      ? 'see that the sentinels run and know the master by that name'
      : 'see that it runs, that host and port are right, and that it is Redis' +
        (shown.startsWith('rediss') ? ' with TLS' : '')
  return `Redis at ${shown} can't be reached (${why ?? 'no answer'}): ${advice}`
}

/** Messages and codes of an error and all that lie below it. */
function causes(error: unknown): string[] {
  if (!(error instanceof Error)) return []
  const { errors, replies } = error as { errors?: unknown[]; replies?: unknown[] }
  const below = [error.cause, ...(errors ?? []), ...(replies ?? [])]
  return [error.message, (error as { code?: string }).code ?? '', ...below.flatMap(causes)]
}

function onlyChanges(changed: ConnectionChanged): ConnectionChanged {
  let up = true
  return (cause) => {
    if (up === (cause === null)) return
    up = cause === null
    changed(cause)
  }
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

function defined<T extends object>(o: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(o).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>
  }
}
