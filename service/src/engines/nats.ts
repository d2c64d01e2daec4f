// Sessions, clients and the feed in NATS JetStream: replicated by the servers, shared by any number of replicas of the service.
import { jetstreamManager, type JetStreamManager, type StreamInfo } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { ConfigError } from 'holdfast'
import { natsFeed, natsFeedStream } from 'holdfast/feeds/nats'
import { natsStore, natsStoreStream } from 'holdfast/stores/nats'
import { StartError } from '../start-error.ts'
import type { ConnectionChanged, Engine, Finding, OpenFeed } from './engine.ts'
import type { FeedUrl } from './feed-url.ts'
import type { StoreUrl } from './store-url.ts'
import { connectTimeoutMs, pingEveryMs } from './timeouts.ts'

type NatsUrl = Extract<StoreUrl & FeedUrl, { kind: 'nats' }>

const reconnectAfterMs = 100
/** For a call to the streams; requests of the service end before. */
const answerMs = 1_000

const clientsStream = 'holdfast-clients'

/** Makes its streams when they are missing. */
export async function natsEngine(url: NatsUrl, changed: ConnectionChanged): Promise<Engine> {
  const streams = [natsStoreStream, () => natsStoreStream({ stream: clientsStream }), natsFeedStream].map(
    (stream) => stream().name,
  )
  return opened(url, 'HOLDFAST_STORE', changed, async (connection, manager, replicas) => {
    await ensure(manager, natsStoreStream({ replicas }))
    await ensure(manager, natsStoreStream({ replicas, stream: clientsStream }))
    await ensure(manager, natsFeedStream({ replicas }))
    const sessions = natsStore(connection, manager)
    const clients = natsStore(connection, manager, { stream: clientsStream })
    // A stream that somebody made otherwise is refused by the first call.
    for (const store of [sessions, clients]) await store.get('any')
    return {
      sessions,
      clients,
      feed: natsFeed(connection, manager),
      inspect: async () =>
        (await Promise.all(streams.map(async (name) => findings(await manager.streams.info(name))))).flat(),
      close: () => connection.close(),
    }
  })
}

/** A feed on other servers than the sessions. Makes its stream when it is missing. */
export async function openNatsFeed(url: NatsUrl, changed: ConnectionChanged): Promise<OpenFeed> {
  return opened(url, 'HOLDFAST_FEED', changed, async (connection, manager, replicas) => {
    await ensure(manager, natsFeedStream({ replicas }))
    return { feed: natsFeed(connection, manager), close: () => connection.close() }
  })
}

async function opened<T>(
  url: NatsUrl,
  setting: string,
  changed: ConnectionChanged,
  make: (connection: NatsConnection, manager: JetStreamManager, replicas: number) => Promise<T>,
): Promise<T> {
  let connection: NatsConnection | undefined
  try {
    connection = await connect({
      ...parts(url.url),
      timeout: connectTimeoutMs,
      // A server that does not answer three of these is left for another.
      pingInterval: pingEveryMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: reconnectAfterMs,
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
    })
    const manager = await jetstreamManager(connection, { timeout: answerMs })
    // Three survive the loss of one; a server that is alone can't replicate.
    const result = await make(connection, manager, connection.info?.cluster === undefined ? 1 : 3)
    void listen(connection, changed)
    return result
  } catch (error) {
    await connection?.close()
    throw new StartError(`${setting}: ${explain(url, error)}`, error)
  }
}

/** Several servers are one engine, with the same credentials; a user without a password is a token. */
function parts(url: string): { servers: string[]; token?: string; user?: string; pass?: string } {
  const [, userInfo, hosts = ''] = /^nats:\/\/(?:([^@]*)@)?([^/?]+)\/?$/.exec(url) ?? []
  const servers = hosts.split(',')
  if (userInfo === undefined) return { servers }
  const [user = '', pass] = userInfo.split(/:(.*)/s, 2).map(decodeURIComponent)
  return pass === undefined ? { servers, token: user } : { servers, user, pass }
}

async function ensure(manager: JetStreamManager, wanted: ReturnType<typeof natsStoreStream>): Promise<void> {
  try {
    await manager.streams.info(wanted.name)
  } catch (error) {
    if ((error as { code?: unknown }).code !== streamNotFound) throw error
    await manager.streams.add(wanted)
  }
}

async function listen(connection: NatsConnection, changed: ConnectionChanged): Promise<void> {
  for await (const { type } of connection.status()) {
    if (type === 'disconnect') changed(new Error('the connection to NATS was lost'))
    if (type === 'reconnect') changed(null)
  }
}

function findings({ config, cluster }: StreamInfo): readonly Finding[] {
  const { name, num_replicas: replicas, storage } = config
  const away = (cluster?.replicas ?? []).filter(({ current, offline }) => (offline ?? false) || !current)
  const isReplicated = cluster?.name === undefined || replicas >= 3
  return [
    {
      what: `replicas of the stream ${name}`,
      ok: isReplicated && away.length === 0,
      found: `${replicas}${away.length === 0 ? '' : `, behind or away: ${away.map((peer) => peer.name).join(', ')}`}`,
      advice: !isReplicated
        ? `the loss of a server loses it: nats stream edit ${name} --replicas 3`
        : away.length === 0
          ? null
          : 'the loss of one more server may stop it: see that these servers run and reach the others',
    },
    {
      what: `storage of the stream ${name}`,
      ok: storage === 'file',
      found: storage,
      advice: storage === 'file' ? null : 'it is lost when the servers are restarted: make it anew with --storage file',
    },
  ]
}

const streamNotFound = 10059
/** Of a cluster that has no three servers with room. */
const noSuitablePeers = 10005

function explain({ shown }: NatsUrl, error: unknown): string {
  const { name, message, code, cause } = error as Error & { code?: unknown; cause?: { code?: unknown } }
  if (error instanceof ConfigError) return `${shown}: ${message}`
  if (name === 'AuthorizationError')
    return `NATS at ${shown} does not accept the user name, password or token of the URL: correct them`
  if (name === 'PermissionViolationError')
    return `the NATS user at ${shown} has not all rights (${message}): allow it $JS.API.> and holdfast.>, holdfast-clients.>, holdfast-feed.>`
  if (name === 'JetStreamNotEnabled') return `NATS at ${shown} runs without JetStream: start nats-server with -js`
  if (code === noSuitablePeers)
    return `NATS at ${shown} has no three servers to place a stream on (${message}): see that they run, or make the streams with fewer replicas yourself`
  return `NATS at ${shown} can't be reached, or does not answer (${String(cause?.code ?? code ?? name)}): see that it runs, that hosts and ports are right, and that it is NATS`
}
