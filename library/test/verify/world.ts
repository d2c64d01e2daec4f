// Processes that share a store and a log, in which the test decides what happens when.
import { createSessions, type SessionsOptions } from '../../src/index.ts'
import type { Feed, FeedStep, Notice, SessionEvent, Sessions, Store } from '../../src/index.ts'
import { memoryStore } from '../../src/stores/memory.ts'
import { fakeClock, type FakeClock } from '../../src/testing/clock.ts'
import { settled } from '../fixtures.ts'

export type AnySessions = Sessions<Record<string, unknown>>

/** The log that all processes publish to. */
export interface Log {
  readonly notices: Notice[]
  /** While set, publishing waits for it; a rejection is that of the engine. */
  gate: Promise<void> | null
}

export interface Process {
  readonly sessions: AnySessions
  readonly events: SessionEvent[]
  readonly feed: ScriptedFeed
  /** The calls that it made to the store. */
  readonly calls: string[]
  /** Reads the log up to its end, as of now. */
  read(o?: Partial<FeedStep>): Promise<void>
}

/** A feed whose steps the test hands out. */
export interface ScriptedFeed extends Feed {
  step(step: FeedStep): void
  fail(error: Error): void
}

export function scriptedFeed(log: Log): ScriptedFeed {
  let waiting: { resolve(step: FeedStep): void; reject(error: Error): void } | null = null
  const ready: FeedStep[] = []
  return {
    async publish(notice) {
      if (log.gate !== null) await log.gate
      log.notices.push(notice)
    },
    async *follow({ signal }) {
      const aborted = new Promise<null>((resolve) => {
        signal.addEventListener('abort', () => resolve(null))
      })
      while (!signal.aborted) {
        const next = ready.shift()
        if (next !== undefined) {
          yield next
          continue
        }
        const step = await Promise.race([
          aborted,
          new Promise<FeedStep>((resolve, reject) => {
            waiting = { resolve, reject }
          }),
        ])
        if (step === null) return
        yield step
      }
    },
    step(step) {
      if (waiting === null) ready.push(step)
      else waiting.resolve(step)
      waiting = null
    },
    fail(error) {
      waiting?.reject(error)
      waiting = null
    },
  }
}

export interface World {
  readonly clock: FakeClock
  readonly log: Log
  readonly store: Store
  process(o?: Partial<SessionsOptions<never>>, through?: (store: Store) => Store): Promise<Process>
  close(): void
}

/** A world at rest: one clock for all, since differences between clocks are the business of tests that say so. */
export function world(): World {
  const clock = fakeClock()
  const log: Log = { notices: [], gate: null }
  const store = memoryStore({ clock })
  const opened: AnySessions[] = []
  return {
    clock,
    log,
    store,
    async process(o = {}, through = (inner) => inner) {
      const feed = scriptedFeed(log)
      const events: SessionEvent[] = []
      const calls: string[] = []
      let position = 0
      const seen = noting(through(store), calls)
      const onEvent = (event: SessionEvent) => void events.push(event)
      const sessions = createSessions({ store: seen, feed, now: clock.now, elapsed: clock.now, onEvent, ...o })
      opened.push(sessions)
      const read = async (step: Partial<FeedStep> = {}) => {
        const notices = log.notices.slice(position)
        position = log.notices.length
        feed.step({ notices, cursor: String(position), gap: false, asOf: clock.now(), ...step })
        await settled()
      }
      await read()
      return { sessions, events, feed, calls, read }
    },
    close: () => opened.forEach((sessions) => sessions.close()),
  }
}

function noting(store: Store, calls: string[]): Store {
  const noted =
    <A extends unknown[], R>(name: string, call: (...args: A) => R) =>
    (...args: A): R => {
      calls.push(name)
      return call(...args)
    }
  return {
    get: noted('get', store.get.bind(store)),
    put: noted('put', store.put.bind(store)),
    delete: noted('delete', store.delete.bind(store)),
    listByUser: noted('listByUser', store.listByUser.bind(store)),
  }
}

/** A promise that the test settles. */
export function gate(): { promise: Promise<void>; open(): void; fail(error: Error): void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  promise.catch(() => {})
  return { promise, open: () => resolve(), fail: reject }
}
