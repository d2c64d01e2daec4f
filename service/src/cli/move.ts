// `holdfast move`: from one engine to another, while both are in use.
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { openEngine, openFeed, type Engine } from '../engines/engine.ts'
import { parseFeedUrl, type FeedUrl } from '../engines/feed-url.ts'
import { parseStoreUrl, type StoreUrl } from '../engines/store-url.ts'
import { checkFormat, ensureFormat, readFormat } from '../format.ts'
import { mover, type Side } from '../move/mover.ts'
import { report, summary } from '../move/report.ts'
import { run } from '../move/run.ts'
import { StartError } from '../start-error.ts'
import { print, table, UsageError, type Command } from './command.ts'

export const move: Command = {
  summary: 'move sessions, clients and keys to another store while both are in use',
  help: `holdfast move --from <url> --to <url>

Copies everything from one store to another, says when they are in step, and keeps them so, in both directions, until Ctrl-C;
meanwhile services are switched from the one to the other. URLs are those of HOLDFAST_STORE. Start it again when it was
interrupted: it goes on.

  --once               ends as soon as they are in step, for when no service runs meanwhile, or to try it out
  --replace            first makes the target a copy of the source, whatever it has; only while no service uses the target
  --from-feed <url>    that of the services on the source, where they have a HOLDFAST_FEED
  --to-feed <url>      the same for the target

docs/guide/moving.md says how to switch, and what is kept safe.`,

  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        from: { type: 'string' },
        to: { type: 'string' },
        'from-feed': { type: 'string' },
        'to-feed': { type: 'string' },
        once: { type: 'boolean' },
        replace: { type: 'boolean' },
      },
      allowPositionals: true,
    })
    if (positionals.length > 0) throw new UsageError('move takes no arguments but its options')
    const from = checkedStore('--from', values.from)
    const to = checkedStore('--to', values.to)
    if (placeOf(from) === placeOf(to)) throw new UsageError('--to: it is the same store as --from')
    if (from.kind === 'sqlite' && !existsSync(from.path)) throw new StartError(`--from: there is no file ${from.path}`)
    const feeds = {
      from: checkedFeed('--from-feed', values['from-feed']),
      to: checkedFeed('--to-feed', values['to-feed']),
    }

    const { say, progress, trouble } = report(process.stderr)
    const [calledOff, stopping] = [new AbortController(), new AbortController()]
    let doubt = () => {}
    const changed = () => doubt()
    const source = await open('--from', from, feeds.from, changed)
    const target = await open('--to', to, feeds.to, changed).catch(async (error: unknown) => {
      await source.close()
      throw error
    })
    let isInStep = false
    const stop = () => {
      if (isInStep && !stopping.signal.aborted) {
        say('stopping: one last pass; Ctrl-C once more to end at once')
        stopping.abort()
      } else calledOff.abort()
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
    const began = performance.now()
    // Between two files there is nothing that would keep the process alive.
    const awake = setInterval(() => {}, 60_000)
    try {
      await checkFormats(source.engine, target.engine)
      const { signal } = calledOff
      const moving = await mover({
        from: source.side,
        to: target.side,
        replace: values.replace === true,
        signal,
        progress(step) {
          if (!isInStep) progress(step)
        },
        trouble,
      })
      ;({ doubt } = moving)
      say(`${moving.resumed ? 'going on' : 'moving'}: ${from.shown} to ${to.shown}`)
      const last = await run({
        mover: moving,
        once: values.once === true,
        signal,
        stopping: stopping.signal,
        trouble,
        inStep(tookMs) {
          if (isInStep) return
          isInStep = true
          const took = tookMs < 1000 ? `${Math.ceil(tookMs)} ms` : `${(tookMs / 1000).toFixed(1)} s`
          if (values.once === true) say('in step')
          else say(`in step; switch your services now, then Ctrl-C. A pass takes ${took}`)
        },
      })
      const failed = last === null || !Number.isFinite(last.failed) ? 0 : last.failed
      print(table(summary(moving, failed, (performance.now() - began) / 1000)))
      if (last === null || last.failed > 0) {
        say('not everything is in step: start it again, and it goes on')
        return 1
      }
      return 0
    } catch (error) {
      if (!calledOff.signal.aborted) throw error
      say('called off before anything was copied')
      return 1
    } finally {
      clearInterval(awake)
      calledOff.abort()
      await Promise.all([source.close(), target.close()])
    }
  },
}

function checkedStore(option: string, text: string | undefined): StoreUrl {
  if (text === undefined) throw new UsageError(`${option} is missing, such as ${option} redis://127.0.0.1:6379`)
  if (text.startsWith('memcached:')) {
    throw new UsageError(
      `${option}: Memcached can't list what it has, so nothing can be moved from it or kept in step with it`,
    )
  }
  const url = parsed(option, text, parseStoreUrl)
  if (url.kind === 'memory') throw new UsageError(`${option}: memory: is inside of the service, and gone with it`)
  return url
}

function checkedFeed(option: string, text: string | undefined): FeedUrl | null {
  if (text === undefined) return null
  const url = parsed(option, text, parseFeedUrl)
  if (url.kind === 'memory') throw new UsageError(`${option}: memory: is inside of the service`)
  return url
}

/** What is wrong never repeats the text, which may hold a password. */
function parsed<T>(option: string, text: string, parse: (text: string) => T): T {
  try {
    return parse(text)
  } catch (error) {
    throw new UsageError(`${option}: ${(error as Error).message}`)
  }
}

function placeOf(url: StoreUrl): string {
  return url.kind === 'sqlite' ? resolve(url.path) : url.shown
}

interface Open {
  readonly engine: Engine
  readonly side: Side
  close(): Promise<void>
}

async function open(option: string, url: StoreUrl, feedUrl: FeedUrl | null, changed: () => void): Promise<Open> {
  let engine: Engine | null = null
  try {
    engine = await openEngine(url, changed)
    const { sessions, clients } = engine
    const opened = feedUrl === null ? null : await openFeed(feedUrl, engine, changed)
    return {
      engine,
      side: { sessions, clients, feed: opened?.feed ?? engine.feed },
      async close() {
        await opened?.close()
        await engine?.close()
      },
    }
  } catch (error) {
    await engine?.close()
    throw inWordsOf(option, error)
  }
}

/** Engines name the setting that their URL comes from elsewhere. */
function inWordsOf(option: string, error: unknown): unknown {
  if (!(error instanceof StartError)) return error
  const words: Record<string, string> = { STORE: option, FEED: `${option}-feed` }
  return new StartError(
    error.problems.map((problem) => problem.replace(/HOLDFAST_(STORE|FEED)\b/g, (_, name: string) => words[name]!)),
    error,
  )
}

/** A store that the service never used has no mark, and gets none. */
async function checkFormats(from: Engine, to: Engine): Promise<void> {
  try {
    const format = await readFormat(from.clients)
    if (format !== null) checkFormat(format)
  } catch (error) {
    throw inWordsOf('--from', error)
  }
  try {
    if ((await readFormat(from.clients)) !== null) await ensureFormat(to.clients)
    else checkFormat((await readFormat(to.clients)) ?? 0)
  } catch (error) {
    throw inWordsOf('--to', error)
  }
}
