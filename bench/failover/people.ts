// What is done all the while: sessions are started, changed, ended and verified at several processes, and all that was acknowledged is kept in mind.
import { randomUUID } from 'node:crypto'
import { SessionGoneError, StoreUnavailableError, type Sessions } from 'holdfast'
import { FakeExchange } from '../harness/exchange.ts'
import { clock } from './engine.ts'

export type Process = Sessions<Record<string, unknown>>

/** One call. */
export interface Call {
  readonly kind: 'write' | 'open' | 'anonymous' | 'forged'
  /** The number of the process. */
  readonly n: number
  readonly began: number
  readonly ended: number
  readonly outcome: 'done' | 'unavailable' | 'wrong'
}

/** One session, as its holder knows it. */
export interface Held {
  readonly id: string
  readonly token: string
  /** What was added to its list and acknowledged. */
  readonly added: string[]
  /** `ending`: tried, and not acknowledged yet. */
  state: 'live' | 'ending' | 'ended'
  /** When the ending was acknowledged. */
  endedAt: number
  /** One change at a time. */
  busy: boolean
  /** Somebody said that it is not there, though nobody had ended it. Then it is left as it is, to be looked for in the end. */
  missed: boolean
  /** When it was accepted last though it had ended, by a process that must have known: as begun. */
  acceptedAt: number
}

export interface People {
  readonly calls: readonly Call[]
  readonly held: readonly Held[]
  /** What went wrong in a way that nothing excuses. */
  readonly wrongs: readonly string[]
  /** Calls under way. */
  pending(): number
  stop(): void
}

/** Each process does one thing in so many ms, and verifies as often. */
const tickMs = 40
const liveAtLeast = 80
const endedShare = 0.2
const boundMs = 1_000
/** The library makes a call again no sooner. */
const retriedAfterMs = 25

export function people(processes: readonly Process[], followsFeed: boolean): People {
  const calls: Call[] = []
  const held: Held[] = []
  const wrongs: string[] = []
  let pending = 0
  let ticks = 0
  const timer = setInterval(() => {
    ticks++
    for (const [n, sessions] of processes.entries()) {
      void write(n, sessions)
      void verify(n, sessions)
      if (ticks % 4 === 0) void anonymous(n, sessions)
      if (ticks % 8 === 0) void forged(n, sessions)
    }
  }, tickMs)

  async function call(kind: Call['kind'], n: number, run: () => Promise<unknown>): Promise<boolean> {
    const began = clock()
    const note = (outcome: Call['outcome']) => void calls.push({ kind, n, began, ended: clock(), outcome })
    pending++
    try {
      await run()
      note('done')
      return true
    } catch (error) {
      const isAway = error instanceof StoreUnavailableError
      note(isAway ? 'unavailable' : 'wrong')
      if (!isAway && !(error instanceof SessionGoneError)) wrongs.push(`${kind}: ${String(error)}`)
      return false
    } finally {
      pending--
    }
  }

  async function write(n: number, sessions: Process): Promise<void> {
    const free = held.filter(({ busy, state, missed }) => !busy && !missed && state !== 'ended')
    const one = free[Math.floor(Math.random() * free.length)]
    if (one === undefined || free.length < liveAtLeast) return start(n, sessions)
    one.busy = true
    if (one.state === 'ending' || Math.random() < endedShare) await end(n, sessions, one)
    else await add(n, sessions, one)
    one.busy = false
  }

  async function start(n: number, sessions: Process): Promise<void> {
    await call('write', n, async () => {
      const { session, token } = await sessions.start(randomUUID(), { data: { list: [] } })
      const id = session.id!
      held.push({ id, token, added: [], state: 'live', endedAt: 0, busy: false, missed: false, acceptedAt: 0 })
    })
  }

  async function add(n: number, sessions: Process, one: Held): Promise<void> {
    const what = randomUUID().slice(0, 8)
    await call('write', n, async () => {
      const session = await sessions.open(one.token)
      if (session.id === null) return void (one.missed = true)
      try {
        await session.update('list', (list) => [...(list as string[]), what])
        one.added.push(what)
      } catch (error) {
        if (!(error instanceof SessionGoneError)) throw error
        one.missed = true
      }
    })
  }

  async function end(n: number, sessions: Process, one: Held): Promise<void> {
    const isFirst = one.state === 'live'
    one.state = 'ending'
    const done = await call('write', n, async () => {
      const began = clock()
      const wasThere = await sessions.end(one.id)
      // A call that was made twice, which takes a pause, may not have found what it had ended itself.
      if (isFirst && !wasThere && clock() - began < retriedAfterMs) one.missed = true
    })
    if (!done) return
    one.state = 'ended'
    one.endedAt = clock()
  }

  /** A live session, or one that ended lately. */
  async function verify(n: number, sessions: Process): Promise<void> {
    const recent = held.slice(-200)
    const one = recent[Math.floor(Math.random() * recent.length)]
    if (one === undefined) return
    await call('open', n, async () => {
      const began = clock()
      const wasLive = one.state === 'live'
      const session = await sessions.open(one.token)
      if (session.id !== null && one.endedAt > 0 && began > one.endedAt + (followsFeed ? boundMs : 0))
        one.acceptedAt = began
      if (session.id === null && wasLive && one.state === 'live') one.missed = true
    })
  }

  async function anonymous(n: number, sessions: Process): Promise<void> {
    await call('anonymous', n, async () => {
      const { id, refused } = await sessions.open(new FakeExchange({}))
      if (id !== null || refused !== null) wrongs.push('a request without a credential got a session, or a refusal')
    })
  }

  /** The id of a live session with another one's secret. */
  async function forged(n: number, sessions: Process): Promise<void> {
    const [a, b] = held.filter(({ state }) => state === 'live').slice(-2)
    if (a === undefined || b === undefined) return
    const token = `${a.token.split('.')[0]}.${b.token.split('.')[1]}`
    await call('forged', n, async () => {
      if ((await sessions.open(token)).id !== null) wrongs.push('somebody was let in with a wrong secret')
    })
  }

  return { calls, held, wrongs, pending: () => pending, stop: () => clearInterval(timer) }
}
