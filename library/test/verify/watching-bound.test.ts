// What is open for a session is closed within the bound, also where the feed tells nothing of its end: time passes as the test says.
import assert from 'node:assert/strict'
import { afterEach, beforeEach, mock, test } from 'node:test'
import {
  createSessions,
  StoreUnavailableError,
  type Feed,
  type FeedStep,
  type Sessions,
  type Store,
} from '../../src/index.ts'
import { paced } from '../../src/internal/paced.ts'
import { memoryStore } from '../../src/stores/memory.ts'

const boundMs = 1_000
const answersInMs = 20
const users = 3_000
const stepMs = 5

type AnySessions = Sessions<Record<string, unknown>>

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] }))
afterEach(() => mock.timers.reset())

const now = () => Date.now()
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Lets time pass, and all that happens meanwhile. */
async function pass(ms: number, meanwhile = () => {}): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    meanwhile()
    mock.timers.tick(stepMs)
    await turn()
  }
}

/** A store that takes its time, and may take it for ever. */
function slowStore() {
  const right = memoryStore({ clock: { now } })
  const state = { hangs: false, asked: 0, right }
  const store: Store = {
    ...right,
    async get(id) {
      state.asked++
      if (state.hangs) await new Promise(() => {})
      await wait(answersInMs)
      return right.get(id)
    },
  }
  return { store, state }
}

/** A feed of a step every 100 ms, until it is cut; what is published in it is lost. */
function lossyFeed() {
  const state = { isCut: false, gap: false }
  const feed: Feed = {
    async publish() {},
    async *follow({ signal, now: elapsed }) {
      for (let n = 0; !signal.aborted; n++) {
        const asOf = elapsed()
        const { gap, isCut } = state
        if (!isCut) yield { notices: [], cursor: String(n), gap, asOf } satisfies FeedStep
        if (!isCut) state.gap = false
        await wait(100)
      }
    },
  }
  return { feed, state }
}

/** Sockets that are open, each of a session of its own, and what became of them. */
async function open(sessions: AnySessions, count = users) {
  const ids: string[] = []
  const closedAt = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const { session } = await sessions.start(`user-${i}`)
    ids.push(session.id!)
    sessions.watch(session, () => closedAt.set(session.id!, now()))
  }
  return { ids, closedAt }
}

type Opened = Awaited<ReturnType<typeof open>>

/** Ends them in another process, some at each step, and says how late the latest socket of those was closed. */
async function latestMs({ ids, closedAt }: Opened, store: Store): Promise<number> {
  const endedAt = new Map<string, number>()
  const atOnce = Math.ceil((ids.length * stepMs) / boundMs)
  // In another order than that in which they are asked for.
  const left = ids.map((_, i) => ids[(i * 1_009) % ids.length]!)
  await pass(boundMs * 3, () => {
    const ended = left.splice(0, atOnce)
    for (const id of ended) endedAt.set(id, now())
    void store.delete(ended)
  })
  assert.equal(left.length, 0)
  return Math.max(...ids.map((id) => (closedAt.get(id) ?? Infinity) - endedAt.get(id)!))
}

test('without a feed every socket is closed within the bound, however many there are', async () => {
  const { store, state } = slowStore()
  const sessions = createSessions({ store, now, elapsed: now }) as AnySessions
  try {
    const sockets = await open(sessions)
    await pass(boundMs)
    const latest = await latestMs(sockets, state.right)
    assert.ok(latest <= boundMs, `closed after ${latest} ms`)
  } finally {
    sessions.close()
  }
})

test('when the feed is cut every socket is closed within the bound', async () => {
  const { store, state } = slowStore()
  const { feed, state: line } = lossyFeed()
  const sessions = createSessions({ store, feed, now, elapsed: now }) as AnySessions
  try {
    await pass(boundMs)
    const sockets = await open(sessions)
    await pass(boundMs * 3)
    const before = state.asked
    await pass(boundMs * 3)
    assert.equal(state.asked, before, 'a feed that tells spares the store')
    line.isCut = true
    const latest = await latestMs(sockets, state.right)
    assert.ok(latest <= boundMs, `closed after ${latest} ms`)
  } finally {
    sessions.close()
  }
})

test('after a gap every socket is closed within the bound, and then the feed is relied on again', async () => {
  const { store, state } = slowStore()
  const { feed, state: line } = lossyFeed()
  const sessions = createSessions({ store, feed, now, elapsed: now }) as AnySessions
  try {
    await pass(boundMs)
    const { ids, closedAt } = await open(sessions)
    await pass(boundMs * 3)
    const ended = ids.filter((_, i) => i % 2 === 0)
    const endedAt = now()
    await state.right.delete(ended)
    line.gap = true
    await pass(boundMs * 2)
    assert.deepEqual([...closedAt.keys()].sort(), ended.sort())
    const latest = Math.max(...closedAt.values()) - endedAt
    assert.ok(latest <= boundMs, `closed after ${latest} ms`)
    const before = state.asked
    await pass(boundMs * 3)
    assert.equal(state.asked, before)
  } finally {
    sessions.close()
  }
})

test('a session that was opened before a gap and watched after it is asked for', async () => {
  const { store, state } = slowStore()
  const { feed, state: line } = lossyFeed()
  const sessions = createSessions({ store, feed, now, elapsed: now }) as AnySessions
  try {
    await pass(boundMs)
    const { session } = await sessions.start('ada')
    await state.right.delete([session.id!])
    line.gap = true
    await pass(200)
    const over: string[] = []
    sessions.watch(session, (why) => over.push(why))
    await pass(boundMs)
    assert.deepEqual(over, ['ended'])
  } finally {
    sessions.close()
  }
})

test('the store is asked of a session once, however many sockets it has', async () => {
  const { store, state } = slowStore()
  const sessions = createSessions({ store, now, elapsed: now }) as AnySessions
  try {
    const { session } = await sessions.start('ada')
    let closed = 0
    for (let i = 0; i < 500; i++) sessions.watch(session, () => closed++)
    await pass(boundMs * 10)
    assert.ok(state.asked <= 21, `asked ${state.asked} times`)
    await state.right.delete([session.id!])
    await pass(boundMs)
    assert.equal(closed, 500)
  } finally {
    sessions.close()
  }
})

test('a look-up that fails is tried again when it is due again, and no sooner', async () => {
  const { store, state } = slowStore()
  const tried = new Map<string, number>()
  const failsFor = new Set<string>()
  const sessions = createSessions({
    store: {
      ...store,
      get(id) {
        tried.set(id, (tried.get(id) ?? 0) + 1)
        return failsFor.has(id) ? Promise.reject(new Error('one of its shards is away')) : store.get(id)
      },
    },
    now,
    elapsed: now,
  }) as AnySessions
  try {
    const { ids, closedAt } = await open(sessions, 10)
    failsFor.add(ids[0]!)
    await pass(boundMs * 10)
    // A call that is rejected at once is made twice.
    assert.ok(tried.get(ids[0]!)! <= 2 * 21, `${tried.get(ids[0]!)} times`)
    await state.right.delete(ids)
    await pass(boundMs)
    assert.deepEqual([...closedAt.keys()].sort(), ids.slice(1).sort())
    failsFor.clear()
    await pass(boundMs)
    assert.equal(closedAt.size, 10)
  } finally {
    sessions.close()
  }
})

test('a store that hangs closes nothing, is not besieged, and tells what ended meanwhile once it is back', async () => {
  const { store, state } = slowStore()
  const sessions = createSessions({ store, now, elapsed: now }) as AnySessions
  try {
    const { ids, closedAt } = await open(sessions)
    await pass(boundMs)
    state.hangs = true
    await pass(boundMs * 2)
    const ended = ids.slice(0, users / 2)
    await state.right.delete(ended)
    const before = state.asked
    await pass(boundMs * 10)
    assert.equal(closedAt.size, 0)
    assert.ok(state.asked - before < users / 3, `asked ${state.asked - before} times`)
    state.hangs = false
    // At most a deadline, a pause of the circuit, and the bound itself.
    await pass(500 + 500 + boundMs)
    assert.deepEqual([...closedAt.keys()].sort(), ended.sort())
  } finally {
    sessions.close()
  }
})

/** An engine that works on so many at once, the others in their turn. */
function engine(workers: number, takesMs: number) {
  const free = Array.from({ length: workers }, () => Promise.resolve())
  const state = { calls: 0, underWay: 0, mostUnderWay: 0 }
  const ask = async () => {
    state.mostUnderWay = Math.max(state.mostUnderWay, ++state.underWay)
    const worker = state.calls++ % workers
    await (free[worker] = free[worker]!.then(() => wait(takesMs)))
    state.underWay--
  }
  return { ask, state }
}

test('an engine that answers at once is asked of many, and one that has enough to do of few', async () => {
  const [able, busy] = [engine(5_000, answersInMs), engine(10, answersInMs)]
  const looks = [able, busy].map(({ ask }) => paced(ask, now))
  for (const look of looks) for (let i = 0; i < 5_000; i++) look.add(String(i))
  await pass(boundMs)
  assert.deepEqual([able.state.calls, able.state.mostUnderWay], [5_000, 1_000])
  assert.ok(busy.state.mostUnderWay < 150, `${busy.state.mostUnderWay} at once`)
  for (const look of looks) look.close()
})

test('an engine that is given a pause is left alone, and whoever waited is asked for once one was answered', async () => {
  const backAt = now() + 3_000
  let probedAt = -Infinity
  let refused = 0
  const answered = new Map<string, number>()
  // As a circuit breaker does: while it is open one passes in half a second, and its success closes it.
  const look = paced(async (key) => {
    if (answered.size === 0) {
      const open = now() - probedAt < 500
      if (open) refused++
      if (open) throw new StoreUnavailableError('it is given a pause', probedAt + 500 - now())
      probedAt = now()
      await wait(answersInMs)
      if (now() < backAt) throw new StoreUnavailableError('failed', 500, new Error('connection lost'))
    }
    answered.set(key, now())
  }, now)
  for (let i = 0; i < users; i++) look.add(String(i))
  await pass(3_000)
  assert.equal(answered.size, 0)
  assert.ok(refused < 600, `${refused} calls in vain`)
  await pass(boundMs)
  // But for those who were sent and failed.
  assert.ok(answered.size >= users - 10, `${answered.size} answered`)
  const [first, last] = [Math.min(...answered.values()), Math.max(...answered.values())]
  assert.ok(last - first <= 100, `the last ${last - first} ms after the first`)
  look.close()
})
