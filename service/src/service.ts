// The whole service, put together from its settings.
import { dirname } from 'node:path'
import { Server as NetServer } from 'node:net'
import { setImmediate as untilPolled, setTimeout as sleep } from 'node:timers/promises'
import { bearerTransport, cookieTransport, createSessions, opaqueCredentials } from 'holdfast'
import type { SessionEvent } from 'holdfast'
import type { Keyring } from 'holdfast/credentials/keyring'
import { adminId, cachedClients, clientRegistry, hashSecret } from './clients.ts'
import { adminSecret, changeableByAnyone, ensureDataFolder } from './data-folder.ts'
import { openEngine, openFeed, type ConnectionChanged, type Engine } from './engines/engine.ts'
import { unreplicated } from './engines/explained.ts'
import { feedRelay } from './feed-relay.ts'
import { ensureFormat } from './format.ts'
import { readRulesFile } from './forward-auth/rules-file.ts'
import { countFailures } from './http/limits.ts'
import { logEvents, logIds, type Logger } from './logs.ts'
import { createMetrics } from './metrics.ts'
import { createServer, type App } from './server.ts'
import type { Settings } from './settings.ts'
import { sweeping } from './sweeping.ts'
import { issueTokens } from './tokens.ts'

export interface RunningService {
  /** Not listening yet. */
  readonly app: App
  /** Stops accepting, answers what is under way, for at most `ms`, and closes the stores. */
  stop(ms: number): Promise<void>
}

/** So long a stopping service goes on to listen, if somebody is connected: who is told of it must have time to go elsewhere. */
const graceMs = 1_000

/** Keys change by the day; what another replica did is known by the feed. */
const maintainEveryMs = 60_000

/** Rejects with `StartError` when the store or the data folder can't be used. */
export async function createService(settings: Settings, logger: Logger): Promise<RunningService> {
  if (settings.store.kind === 'sqlite' && dirname(settings.store.path) === settings.dataFolder) {
    ensureDataFolder(settings.dataFolder)
  }
  const rules = settings.rules === null ? null : readRulesFile(settings.rules)
  const secretHash = hashSecret(adminSecret(settings))
  for (const path of changeableByAnyone(settings)) {
    logger.warn(
      { path },
      'everybody on this machine may change this, and so become admin; holdfast doctor says what to do',
    )
  }
  const { engine, feed, close } = await openEngines(settings, logger)
  const relay = feedRelay(feed)
  const { signed, keys } = await issueTokens(settings, engine, feed, logger).catch(async (error: unknown) => {
    await close()
    throw unreplicated(error)
  })
  const metrics = createMetrics()
  const logId = logIds(secretHash)
  const log = logEvents(logger, logId)
  const sessions = createSessions({
    store: engine.sessions,
    feed: relay.feed,
    credentials: [opaqueCredentials(), signed],
    transport: [cookieTransport(), bearerTransport()],
    roles: rules?.roles,
    trustedOrigins: rules?.trustedOrigins,
    maxStaleness: settings.maxStaleness,
    lifetime: settings.lifetime,
    onEvent(event: SessionEvent) {
      metrics.happened(event)
      log(event)
    },
  })
  metrics.watch(() => sessions.status())
  const admin = { id: adminId, permissions: new Set(['admin']), secretHash }
  const state = { stopping: false }
  const app = await createServer({
    sessions,
    store: engine.sessions,
    storeShown: settings.store.kind,
    relay,
    signed,
    keys,
    issuer: settings.issuer,
    clients: cachedClients(clientRegistry(engine.clients), admin),
    limits: countFailures(logger),
    metrics,
    logger,
    state,
    forwardAuth: { trustedProxies: settings.trustedProxies, rules, logId },
  })
  const stopSweeping = sweeping(engine.sessions, logger)
  const maintaining = maintain(keys, logger)
  void inspected(engine, logger, state)

  return {
    app,
    async stop(ms) {
      state.stopping = true
      const hurry = setTimeout(() => app.server.closeAllConnections(), ms)
      // A fraction of the drain at most, so that most of it is left for answers.
      if ((await connections(app.server)) > 0) await sleep(Math.min(graceMs, ms / 10))
      await closeListener(app, ms / 10)
      // Who was accepted last has sent a request, or will at once; closing what is idle would cut it off.
      await disconnected(app, Math.min(graceMs / 2, ms / 20))
      await app.close()
      clearTimeout(hurry)
      stopSweeping()
      clearInterval(maintaining)
      sessions.close()
      await close()
    },
  }
}

/** Waits until nobody is connected any more, for at most `ms`. */
async function disconnected({ server }: App, ms: number): Promise<void> {
  const until = performance.now() + ms
  while (performance.now() < until && (await connections(server)) > 0) await sleep(20)
}

function connections(server: App['server']): Promise<number> {
  return new Promise((resolve) => {
    server.getConnections((error, count) => resolve(error === null ? count : 0))
  })
}

/**
 * Only the listener: an HTTP server's own `close` takes idle connections with it. Closing it resets whoever waits to be
 * accepted, so that is done right after a look at the sockets that found nothing to do; within `ms` in any case.
 */
async function closeListener({ server }: App, ms: number): Promise<void> {
  const until = performance.now() + ms
  let happened = 0
  for (const event of ['connection', 'request']) server.on(event, () => happened++)
  await untilPolled()
  for (let before = -1; before !== happened && performance.now() < until;) {
    before = happened
    await untilPolled()
  }
  NetServer.prototype.close.call(server)
}

async function openEngines({ store, feed: url }: Settings, logger: Logger) {
  const engine = await openEngine(store, connectionLog(logger, 'store', store.shown))
  try {
    await ensureFormat(engine.clients)
    const open = await openFeed(url, engine, connectionLog(logger, 'feed', url?.shown ?? store.shown))
    return {
      engine,
      feed: open.feed,
      async close() {
        await open.close()
        await engine.close()
      },
    }
  } catch (error) {
    await engine.close()
    throw unreplicated(error)
  }
}

function connectionLog(logger: Logger, what: 'store' | 'feed', shown: string): ConnectionChanged {
  return (cause) => {
    if (cause === null) logger.warn({ [what]: shown }, `connected to the ${what} again`)
    else logger.error({ [what]: shown, err: cause }, `the connection to the ${what} is lost; trying again`)
  }
}

/** Makes the next key, and drops the last, when it is time. */
function maintain(keys: Keyring, logger: Logger): NodeJS.Timeout {
  return setInterval(() => {
    keys.maintain().catch((err: unknown) => logger.warn({ err }, 'the signing keys could not be looked after'))
  }, maintainEveryMs).unref()
}

/** What somebody should do about the engine, said once. Nobody waits for it, and an engine that can't say is no reason to refuse anybody. */
async function inspected(engine: Engine, logger: Logger, state: { readonly stopping: boolean }): Promise<void> {
  try {
    for (const { what, ok, found, advice } of await engine.inspect('at-start')) {
      if (!ok) logger.warn({ advice }, `${what}: ${found}`)
    }
  } catch (err) {
    if (!state.stopping) logger.warn({ err }, 'the store does not say whether it may drop sessions')
  }
}
