// The contract can fail: against feeds that each break one promise, it goes red, and at the rule that names the promise.
import type { Feed, FeedStep, Notice } from 'holdfast'
import { memoryFeed } from 'holdfast/feeds/memory'
import { feedContract, type FeedUnderTest } from 'holdfast/testing'
import { testContract, type Broken } from '../broken.ts'

/** A log of which everything that is kept can be removed, and a feed on it that is right. */
function trimmable(): { feed: Feed; trim: () => Promise<void>; log: Notice[] } {
  const log: Notice[] = []
  let removed = 0
  return {
    log,
    trim: async () => void (removed = log.length),
    feed: {
      publish: async (notice) => void log.push(structuredClone(notice)),
      async *follow({ since, signal, now }) {
        let cursor = Number(since ?? removed)
        while (!signal.aborted) {
          const gap = cursor < removed
          const notices = log.slice(Math.max(cursor, removed))
          cursor = log.length
          yield { notices, cursor: String(cursor), gap, asOf: now() }
          await new Promise((resolve) => setTimeout(resolve, 20).unref())
        }
      },
    },
  }
}

type Trimmable = ReturnType<typeof trimmable>

/** A feed that is right but for the members given. */
function but(change: (right: Feed, log: Trimmable) => Partial<Feed>): () => FeedUnderTest {
  return () => {
    const right = trimmable()
    const broken = () => ({ ...right.feed, ...change(right.feed, right) })
    return { feed: broken(), another: broken, trim: right.trim }
  }
}

/** A feed whose steps are changed on the way. */
function stepping(change: (step: FeedStep, now: () => number) => FeedStep | Promise<FeedStep>): () => FeedUnderTest {
  return but((right) => ({
    async *follow(o) {
      for await (const step of right.follow(o)) yield await change(step, o.now)
    },
  }))
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

const broken: Broken<FeedUnderTest> = {
  'a notice in a hundred lost': {
    make: () => {
      let published = 0
      return but((right) => ({
        publish: async (notice) => (++published % 100 === 0 ? undefined : right.publish(notice)),
      }))()
    },
    noticedBy: /a reader that does not read holds back nobody/,
  },
  'one lost of those that come at once': {
    make: but((right) => {
      let under = 0
      return {
        async publish(notice) {
          const isLost = under++ > 10
          await turn()
          under--
          if (!isLost) await right.publish(notice)
        },
      }
    }),
    noticedBy: /of many that are published at once, none is lost/,
  },
  'the ids of a notice cut short': {
    make: stepping((step) => ({
      ...step,
      notices: step.notices.map((notice) =>
        notice.kind === 'ended' ? { ...notice, ids: notice.ids.slice(0, 100) } : notice,
      ),
    })),
    noticedBy: /a notice comes back as it was published/,
  },
  'a step in the wrong order': {
    make: stepping((step) => ({ ...step, notices: step.notices.toReversed() })),
    noticedBy: /notices come in the order/,
  },
  'an order of its own for each client': {
    make: () => {
      const right = trimmable()
      const client = (delay: boolean): Feed => ({
        publish: right.feed.publish,
        async *follow(o) {
          for await (const step of right.feed.follow(o)) {
            yield delay ? { ...step, notices: step.notices.toSorted((a, b) => (nameOf(a) < nameOf(b) ? 1 : -1)) } : step
          }
        },
      })
      return { feed: client(false), another: () => client(true), trim: right.trim }
    },
    noticedBy: /whoever comes and goes/,
  },
  'a publish that resolves before it is written': {
    make: but((right) => ({ publish: async (notice) => void setTimeout(() => void right.publish(notice), 5) })),
    noticedBy: /what was published before anybody followed is there/,
  },
  'a log that begins when somebody follows': {
    make: but((right, { log }) => ({ follow: (o) => right.follow({ ...o, since: o.since ?? String(log.length) }) })),
    noticedBy: /what was published before anybody followed is there/,
  },
  'a log for each client': {
    make: () => ({ feed: memoryFeed(), another: () => memoryFeed() }),
    noticedBy: /what was published before anybody followed is there/,
  },
  'asOf read when the read ends': {
    make: stepping(async (step, now) => {
      await turn()
      return { ...step, asOf: now() }
    }),
    noticedBy: /a step as of an instant holds what was published before/,
  },
  'asOf of a clock of its own': {
    make: stepping((step) => ({ ...step, asOf: Date.now() })),
    noticedBy: /a step as of an instant holds what was published before/,
  },
  'asOf that stands still': {
    make: but((right) => ({ follow: (o) => right.follow({ ...o, now: () => 1 }) })),
    noticedBy: /steps come when nothing is published/,
  },
  'no steps while nothing is published': {
    make: but((right) => ({
      async *follow(o) {
        let first = true
        for await (const step of right.follow(o)) {
          if (first || step.notices.length > 0) yield step
          first = false
        }
      },
    })),
    noticedBy: /steps come when nothing is published/,
  },
  'notices given to the first reader alone': {
    make: but((right) => {
      const given = new Set<string>()
      return {
        async *follow(o) {
          for await (const step of right.follow({ ...o, since: undefined })) {
            const notices = step.notices.filter((notice) => !given.has(nameOf(notice)))
            for (const notice of notices) given.add(nameOf(notice))
            yield { ...step, notices }
          }
        },
      }
    }),
    noticedBy: /whoever comes and goes/,
  },
  'a cursor that skips': {
    make: stepping((step) => ({ ...step, cursor: String(Number(step.cursor) + 1) })),
    noticedBy: /who comes back with a cursor reads on from there/,
  },
  'gaps without a reason': {
    make: stepping((step) => ({ ...step, gap: true })),
    noticedBy: /who comes back with a cursor reads on from there/,
  },
  'no gap after notices were removed': {
    make: stepping((step) => ({ ...step, gap: false })),
    noticedBy: /a cursor that is too old is a gap/,
  },
  'a gap only when the next notice shows it': {
    make: but((right) => ({
      async *follow(o) {
        let pending = false
        for await (const step of right.follow(o)) {
          pending ||= step.gap
          yield { ...step, gap: pending && step.notices.length > 0 }
          if (step.notices.length > 0) pending = false
        }
      },
    })),
    noticedBy: /a cursor that is too old is a gap/,
  },
  'no gap for a reader that had read all but one': {
    make: but((right) => ({
      async *follow(o) {
        for await (const step of right.follow(o)) yield { ...step, gap: step.gap && o.since === '0' }
      },
    })),
    noticedBy: /a reader that was there finds a gap/,
  },
  'a gap for whoever is new': {
    make: but((right) => ({ follow: (o) => right.follow({ ...o, since: o.since ?? '0' }) })),
    noticedBy: /a first follow is no gap/,
  },
  'an abort that throws': {
    make: but((right) => ({
      async *follow(o) {
        yield* right.follow(o)
        o.signal.throwIfAborted()
      },
    })),
    noticedBy: /an abort ends the iteration, without an error/,
  },
  'an abort that nobody hears': {
    make: but((right) => ({ follow: (o) => right.follow({ ...o, signal: new AbortController().signal }) })),
    noticedBy: /an abort ends the iteration, without an error/,
  },
  'a follower that can not be left': {
    make: but((right) => ({
      follow(o) {
        const steps = right.follow(o)[Symbol.asyncIterator]()
        const next = () => steps.next()
        return { [Symbol.asyncIterator]: () => ({ next, return: () => new Promise<never>(() => {}) }) }
      },
    })),
    noticedBy: /leaving ends the iteration/,
  },
  'a publisher that waits for every reader': {
    make: but((right) => {
      const idle = new Set<Promise<void>>()
      return {
        async publish(notice) {
          await right.publish(notice)
          await Promise.all(idle)
        },
        async *follow(o) {
          for await (const step of right.follow(o)) {
            const { promise, resolve } = Promise.withResolvers<void>()
            idle.add(promise)
            try {
              yield step
            } finally {
              idle.delete(promise)
              resolve()
            }
            idle.delete(promise)
          }
        },
      }
    }),
    noticedBy: /a reader that does not read holds back nobody/,
  },
}

function nameOf(notice: Notice): string {
  return notice.kind === 'ended' ? notice.ids.join() : notice.kind
}

testContract(
  feedContract,
  broken,
  but(() => ({})),
)
