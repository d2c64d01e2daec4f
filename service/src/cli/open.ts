// The store that a command works on: that of the running service, by the same settings.
import { openEngine, type Engine } from '../engines/engine.ts'
import { ensureFormat } from '../format.ts'
import { readSettings, type Settings } from '../settings.ts'
import { StartError } from '../start-error.ts'
import { ensureDataFolder } from '../data-folder.ts'

/** `StartError` when no other process can see the store, or it can't be used. Whoever opens it closes it. */
export async function openShared(): Promise<{ engine: Engine; settings: Settings }> {
  const settings = readSettings(process.env)
  if (settings.store.kind === 'memory') {
    throw new StartError(
      'HOLDFAST_STORE: memory: is inside of the service; commands need a store that they can see too',
    )
  }
  if (settings.store.kind === 'sqlite') ensureDataFolder(settings.dataFolder)
  const engine = await openEngine(settings.store)
  try {
    await ensureFormat(engine.clients)
  } catch (error) {
    await engine.close()
    throw error
  }
  return { engine, settings }
}
