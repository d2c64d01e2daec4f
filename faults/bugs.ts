// Bugs planted on purpose, each around a store and a feed, as an implementation that has it would use them. The checker must find each.
import type { Feed, Notice, Store } from 'holdfast'
import { clock } from './history.ts'
import type { Random } from './random.ts'

export const bugs = [
  'skipped publish',
  'delete before publish',
  'asOf at the end of the read',
  'refresh not atomic',
  'cache fill races a delete',
] as const
export type Bug = (typeof bugs)[number]

interface Engine {
  readonly store: Store
  readonly feed: Feed
}

/** `crashes`: whether this process may die in between two steps, where the bug is about that. */
export function planted(bug: Bug | null, engine: Engine, random: Random, crashes: boolean): Engine {
  switch (bug) {
    case null:
      return engine
    case 'skipped publish':
      return { ...engine, feed: { ...engine.feed, publish: async () => {} } }
    case 'delete before publish':
      return {
        ...engine,
        feed: { ...engine.feed, publish: deleteFirst(engine, crashes ? () => random() < crashShare : () => false) },
      }
    case 'asOf at the end of the read':
      return { ...engine, feed: asOfTheEnd(engine.feed) }
    case 'refresh not atomic':
      return { ...engine, store: careless(engine.store) }
    case 'cache fill races a delete':
      return forgetful(engine, random)
  }
}

const crashShare = 0.4

/** Tells of what it deleted, and sometimes dies in between: who tries again finds nothing to tell of. */
function deleteFirst({ store, feed }: Engine, crash: () => boolean): Feed['publish'] {
  return async (notice, o) => {
    if (notice.kind !== 'ended') return feed.publish(notice, o)
    const ids = await store.delete(notice.ids)
    if (crash()) process.kill(process.pid, 'SIGKILL')
    if (ids.length > 0) await feed.publish({ ...notice, ids }, o)
  }
}

function asOfTheEnd(feed: Feed): Feed {
  return {
    ...feed,
    async *follow(o) {
      for await (const step of feed.follow(o)) yield { ...step, asOf: o.now() }
    },
  }
}

/** Looks, then writes: whoever came in between is overwritten. */
function careless(store: Store): Store {
  return {
    ...store,
    async put(record, expected, o) {
      const current = expected === null ? null : await store.get(record.id)
      if (current === null || current.credential === record.credential) return store.put(record, expected, o)
      return store.put({ ...record, version: current.version + 1 }, current.version, o)
    },
  }
}

/**
 * A cache that an ending only takes entries out of: what is being looked up at that moment is filled in afterwards. Such a
 * cache differs from ours in nothing but that the notice has no effect on look-ups under way.
 */
function forgetful({ store, feed }: Engine, random: Random): Engine {
  const inFlight = new Map<string, number>()
  const missed = (notice: Notice): Notice =>
    notice.kind === 'ended' ? { ...notice, ids: notice.ids.filter((id) => !inFlight.has(id)) } : notice
  return {
    store: {
      ...store,
      async get(id, o) {
        const at = clock()
        inFlight.set(id, at)
        try {
          const record = await store.get(id, o)
          // An answer that takes its time, as any may.
          if (random() < 0.5) await new Promise((resolve) => setTimeout(resolve, random() * 150))
          return record
        } finally {
          if (inFlight.get(id) === at) inFlight.delete(id)
        }
      },
    },
    feed: {
      ...feed,
      async *follow(o) {
        for await (const step of feed.follow(o)) yield { ...step, notices: step.notices.map(missed) }
      },
    },
  }
}
