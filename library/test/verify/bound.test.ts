// The promise itself, under generated interleavings: nobody is let in who was ended, once the bound has passed.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  createSessions,
  type Feed,
  type FeedStep,
  type Notice,
  type SessionRecord,
  type Sessions,
  type Store,
} from '../../src/index.ts'
import { memoryStore } from '../../src/stores/memory.ts'
import { fakeClock } from '../../src/testing/clock.ts'
import { settled } from '../fixtures.ts'

const boundMs = 1_000
const processes = 2
const users = 1

/** What can happen. A read of the log, a look-up and a deletion each begin and end on their own, so anything can come in between. */
type Step =
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'start' | 'end' | 'open' | 'roles'; readonly at: number; readonly who: number }
  | { readonly do: 'read' | 'deliver' | 'cut' | 'release'; readonly at: number }
  | { readonly do: 'trim' }

const anyProcess = fc.nat(processes - 1)
const anyUser = fc.nat(users - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 100, 400, 999, 1_001) }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constantFrom('start' as const, 'end' as const, 'open' as const, 'open' as const, 'roles' as const),
      at: anyProcess,
      who: anyUser,
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom('read' as const, 'deliver' as const, 'deliver' as const, 'cut' as const, 'release' as const),
      at: anyProcess,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('trim' as const) }) },
)

/** Bugs that the check has to find, each planted into the world around the sessions. */
type Bug = 'skipped publish' | 'delete before publish' | 'asOf at the end' | 'gap not told' | 'none'

interface Held {
  readonly token: string
  readonly id: string
  /** When its ending was answered; `null` while it lives. */
  endedAt: number | null
  /** When roles were last taken away, as answered. */
  demotedAt: number | null
}

class World {
  readonly clock = fakeClock()
  readonly bug: Bug
  /** `null`s are trimmed. */
  readonly log: (Notice | null)[] = []
  readonly store = memoryStore({ clock: this.clock })
  readonly nodes: Node[]
  readonly held: (Held | null)[] = Array.from({ length: users }, () => null)
  readonly accepts: string[] = []
  readonly pending: Promise<unknown>[] = []

  constructor(bug: Bug) {
    this.bug = bug
    this.nodes = Array.from({ length: processes }, () => new Node(this))
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      await this.take(step)
      await settled()
    }
    for (const node of this.nodes) node.release()
    await settled()
    for (const node of this.nodes) node.sessions.close()
    await Promise.allSettled(this.pending)
    assert.deepEqual(this.accepts, [])
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case 'wait':
        return this.clock.advance(`${step.ms}ms`)
      case 'trim':
        return void this.log.fill(null)
      case 'read':
        return this.nodes[step.at]!.beginRead()
      case 'deliver':
        return this.nodes[step.at]!.deliver()
      case 'cut':
        return this.nodes[step.at]!.hold()
      case 'release':
        return this.nodes[step.at]!.release()
      default:
        return void this.pending.push(this.act(step).catch(() => {}))
    }
  }

  async act({ do: act, at, who }: Extract<Step, { who: number }>): Promise<void> {
    const { sessions } = this.nodes[at]!
    const held = this.held[who] ?? null
    if (act === 'start') {
      if (held !== null && held.endedAt === null) return
      const { token, session } = await sessions.start(`user${who}`, { roles: ['clerk'] })
      this.held[who] = { token, id: session.id!, endedAt: null, demotedAt: null }
      return
    }
    if (held === null) return
    if (act === 'end') {
      await sessions.end(held.id)
      held.endedAt ??= this.clock.now()
    } else if (act === 'roles') {
      await sessions.setRoles(`user${who}`, [])
      held.demotedAt ??= this.clock.now()
    } else {
      const began = this.clock.now()
      const { endedAt, demotedAt } = held
      const session = await sessions.open(held.token)
      if (session.userId === null) {
        // Nobody who is alive is refused: these sessions expire only after the run.
        if (held.endedAt === null && endedAt === null && this.endings === 0)
          this.accepts.push(`refused: ${session.refused}`)
        return
      }
      if (session.userId !== `user${who}`) this.accepts.push('somebody else')
      if (endedAt !== null && began > endedAt + boundMs) this.accepts.push(`${began - endedAt} ms after its end`)
      if (demotedAt !== null && began > demotedAt + boundMs && session.roles.length > 0) {
        this.accepts.push(`with its old roles ${began - demotedAt} ms after they were taken away`)
      }
    }
  }

  /** Endings under way may have been published, which denies before they are answered. */
  get endings(): number {
    return this.log.length
  }
}

class Node {
  readonly sessions: Sessions<Record<string, unknown>>
  readonly #world: World
  #position = 0
  #reading: { asOf: number; upTo: number } | null = null
  readonly #steps: FeedStep[] = []
  #wake: () => void = () => {}
  #held: Promise<void> | null = null
  #letGo: () => void = () => {}

  constructor(world: World) {
    this.#world = world
    const { clock } = world
    this.sessions = createSessions({
      store: this.#store(),
      feed: this.#feed(),
      now: clock.now,
      elapsed: clock.now,
      deadline: '60s',
      lifetime: { idle: '30d', absolute: '30d' },
    })
  }

  beginRead(): void {
    const { clock, log } = this.#world
    this.#reading ??= { asOf: clock.now(), upTo: log.length }
  }

  deliver(): void {
    if (this.#reading === null) return
    const { log, clock, bug } = this.#world
    const { asOf, upTo } = this.#reading
    this.#reading = null
    const seen = log.slice(this.#position, upTo)
    this.#position = upTo
    const gap = bug !== 'gap not told' && seen.includes(null)
    const notices = seen.filter((notice) => notice !== null)
    this.#steps.push({ notices, gap, cursor: String(upTo), asOf: bug === 'asOf at the end' ? clock.now() : asOf })
    this.#wake()
  }

  /** From here on calls to the store take until they are let go. */
  hold(): void {
    if (this.#held !== null) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#held = promise
    this.#letGo = resolve
  }

  release(): void {
    this.#held = null
    this.#letGo()
  }

  #feed(): Feed {
    const world = this.#world
    const steps = this.#steps
    const sleep = () => new Promise<void>((resolve) => (this.#wake = resolve))
    const wake = () => this.#wake()
    return {
      async publish(notice) {
        if (world.bug === 'skipped publish') return
        if (world.bug === 'delete before publish' && notice.kind === 'ended') {
          // What a crash between the two leaves: deleted, and nobody told.
          await world.store.delete(notice.ids)
          return
        }
        world.log.push(notice)
      },
      async *follow({ signal }) {
        signal.addEventListener('abort', () => wake())
        while (!signal.aborted) {
          const next = steps.shift()
          if (next === undefined) await sleep()
          else yield next
        }
      },
    }
  }

  #store(): Store {
    const { store } = this.#world
    /** The engine does it at once, and the answer comes late. */
    const late = async <T>(call: Promise<T>): Promise<T> => {
      const value = await call
      if (this.#held !== null) await this.#held
      return value
    }
    return {
      get: (id) => late(store.get(id)),
      put: (record: SessionRecord, expected) => late(store.put(record, expected)),
      delete: (ids) => late(store.delete(ids)),
      listByUser: (userId) => late(store.listByUser(userId)),
    }
  }
}

const runs = Number(process.env['HOLDFAST_FUZZ_RUNS'] ?? 1_000)

function property(bug: Bug): fc.IAsyncProperty<[Step[]]> {
  return fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), async (steps) => {
    await new World(bug).run(steps)
  })
}

describe('under any interleaving', () => {
  test('nobody is accepted later than the bound after the ending was answered, nor with roles that were taken away', async () => {
    await fc.assert(property('none'), { numRuns: runs })
  })

  for (const bug of ['skipped publish', 'delete before publish', 'asOf at the end', 'gap not told'] as const) {
    test(`and the check would notice: ${bug}`, async () => {
      const result = await fc.check(property(bug), { numRuns: 20_000, endOnFailure: true, seed: 1 })
      assert.equal(result.failed, true, 'the planted bug was not found')
    })
  }
})
