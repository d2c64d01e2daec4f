// The whole service, put together from its settings.
import { dirname } from 'node:path'
import { createSessions } from 'holdfast'
import type { SessionEvent, SweepableStore } from 'holdfast'
import { adminId, cachedClients, clientRegistry, hashSecret } from './clients.ts'
import { adminSecret, ensureDataFolder } from './data-folder.ts'
import { openEngine, type Engine } from './engines/engine.ts'
import { ensureFormat } from './format.ts'
import { countFailures } from './http/limits.ts'
import { logEvents, logIds, type Logger } from './logs.ts'
import { createMetrics } from './metrics.ts'
import { createServer, type App } from './server.ts'
import type { Settings } from './settings.ts'

export interface RunningService {
  /** Not listening yet. */
  readonly app: App
  /** Stops accepting, answers what is under way, for at most `ms`, and closes the stores. */
  stop(ms: number): Promise<void>
}

/** Expired records are removed this often where the engine does not do it. */
const sweepEveryMs = 60_000

/** Rejects with `StartError` when the store or the data folder can't be used. */
export async function createService(settings: Settings, logger: Logger): Promise<RunningService> {
  if (settings.store.kind === 'sqlite' && dirname(settings.store.path) === settings.dataFolder) {
    ensureDataFolder(settings.dataFolder)
  }
  const secretHash = hashSecret(adminSecret(settings))
  const engine = await openStore(settings, logger)
  const metrics = createMetrics()
  const log = logEvents(logger, logIds(secretHash))
  const sessions = createSessions({
    store: engine.sessions,
    lifetime: settings.lifetime,
    onEvent(event: SessionEvent) {
      metrics.happened(event)
      log(event)
    },
  })
  const admin = { id: adminId, permissions: new Set(['admin']), secretHash }
  const state = { stopping: false }
  const app = await createServer({
    sessions,
    store: engine.sessions,
    storeShown: settings.store.kind,
    clients: cachedClients(clientRegistry(engine.clients), admin),
    limits: countFailures(),
    metrics,
    logger,
    state,
  })
  const sweeping = sweep(engine, logger)

  return {
    app,
    async stop(ms) {
      state.stopping = true
      const hurry = setTimeout(() => app.server.closeAllConnections(), ms)
      await app.close()
      clearTimeout(hurry)
      clearInterval(sweeping)
      await engine.close()
    },
  }
}

async function openStore({ store }: Settings, logger: Logger): Promise<Engine> {
  const engine = await openEngine(store, (cause) => {
    if (cause === null) logger.warn({ store: store.shown }, 'connected to the store again')
    else logger.error({ store: store.shown, err: cause }, 'the connection to the store is lost; trying again')
  })
  try {
    await ensureFormat(engine.clients)
  } catch (error) {
    await engine.close()
    throw error
  }
  return engine
}

function sweep({ sessions }: Engine, logger: Logger): NodeJS.Timeout | undefined {
  if (!('sweep' in sessions)) return undefined
  const store = sessions as unknown as SweepableStore
  return setInterval(() => {
    store.sweep(1000).catch((err: unknown) => logger.warn({ err }, 'expired sessions could not be removed'))
  }, sweepEveryMs).unref()
}
