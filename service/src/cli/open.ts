// The store and the feed that a command works on: those of the running service, by the same settings.
import { existsSync } from 'node:fs'
import type { Feed } from 'holdfast'
import { openEngine, openFeed, type Engine } from '../engines/engine.ts'
import { unreplicated } from '../engines/explained.ts'
import { checkFormat, ensureFormat, readFormat } from '../format.ts'
import { readSettings, type Settings } from '../settings.ts'
import { StartError } from '../start-error.ts'
import { ensureDataFolder } from '../data-folder.ts'

export interface Shared {
  readonly engine: Engine
  readonly feed: Feed
  readonly settings: Settings
  close(): Promise<void>
}

/**
 * `StartError` when no other process can see the store, or it can't be used. One that is not there yet is made only for who
 * says so: for the others it is a sign that they look in the wrong place. Whoever opens it closes it.
 */
export async function openShared({ make }: { make: boolean }): Promise<Shared> {
  const settings = readSettings(process.env)
  if (settings.store.kind === 'memory') {
    throw new StartError(
      'HOLDFAST_STORE: memory: is inside of the service; commands need a store that they can see too',
    )
  }
  if (settings.store.kind === 'sqlite') {
    if (make) ensureDataFolder(settings.dataFolder)
    else if (!existsSync(settings.store.path)) throw noStore(settings.store.path)
  }
  const engine = await openEngine(settings.store)
  try {
    if (make) await ensureFormat(engine.clients)
    else {
      const format = await readFormat(engine.clients)
      if (format === null) throw noStore(settings.store.shown)
      checkFormat(format)
    }
    const { feed, close } = await openFeed(settings.feed, engine)
    return {
      engine,
      feed,
      settings,
      async close() {
        await close()
        await engine.close()
      },
    }
  } catch (error) {
    await engine.close()
    throw unreplicated(error)
  }
}

function noStore(place: string): StartError {
  return new StartError(`no store at ${place}: run this where the service runs, or set HOLDFAST_DATA / HOLDFAST_STORE`)
}
