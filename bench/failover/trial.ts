// One failover: load, fault, promotion, return; then everything that was acknowledged is looked up.
import { setTimeout as sleep } from 'node:timers/promises'
import { createSessions } from 'holdfast'
import { clock, type Connection, type Engine, type Fault } from './engine.ts'
import { people, type Call, type Held, type People, type Process } from './people.ts'

/** Of one setting in one failover; instants in ms after the fault. `null`: nothing failed. */
export interface Outcome {
  readonly promotedMs: number
  /** The engine's own client, alone. */
  readonly plainMs: number | null
  /** All processes write again: from the fault. */
  readonly writesMs: number | null
  /** All processes verify again: from the fault. */
  readonly opensMs: number | null
  readonly acknowledged: { readonly sessions: number; readonly updates: number; readonly endings: number }
  readonly lost: { readonly sessions: number; readonly updates: number }
  /** Sessions that a process that is new did not find when all was whole, but did half a minute later. */
  readonly missedAWhile: number
  /** Endings that were acknowledged, and accepted later: past the bound of the feed, where there is one. */
  readonly cameBack: number
  /** Of these, those that are still accepted in the end. */
  readonly backForGood: number
  /** From the acknowledgement of such an ending to the last accept. */
  readonly lastAcceptMs: number
  /** Live sessions that were called ended, and were there later. */
  readonly wronglyRefused: number
  /** Requests without a credential that were not served. */
  readonly anonymousFailed: number
  readonly longestMs: { readonly open: number; readonly write: number; readonly anonymous: number }
  /** Calls that were never answered. */
  readonly hung: number
  readonly wrongs: readonly string[]
}

export interface Trial {
  readonly settings: Readonly<Record<string, Outcome>>
  /** The longest time for which this process, with all clients in it, got no CPU. */
  readonly stallMs: number
}

const processCount = 3
const warmMs = 1_500
/** So long nothing failed any more: then it is over. */
const calmMs = 1_000
/** Some can't write before the network is whole again. */
const limitMs = { kill: 15_000, cut: 15_000, split: 5_000 }
/** What was asked last is answered by then, or never. */
const drainMs = 4_000
const maxStalenessMs = 1_000
/** What somebody sees who is behind is not lost: nobody is for longer. */
const staleForMs = 30_000
const plainEveryMs = 20
/** Nobody waits longer for the engine's own client than for ours. */
const plainPatienceMs = 500

let spaces = 0

export async function trial(engine: Engine, fault: Fault, settings: readonly string[]): Promise<Trial> {
  const closing: (() => void)[] = []
  try {
    const groups = await Promise.all(settings.map(startGroup))
    const plain: Call[] = []
    for (let n = 0; n < processCount; n++) await startPlain(n, plain)
    await sleep(warmMs + Math.random() * 500)
    const stall = watchForStalls()
    closing.push(stall)
    const strike = await engine.strike(fault)
    const promotedAt = await strike.promotedAt
    const lastPromotedAt = Math.max(...[...settings, 'plain'].map(promotedAt))
    await untilCalm(lastPromotedAt + limitMs[fault], lastPromotedAt, [...groups.map(({ load }) => load.calls), plain])
    const healedAt = clock()
    const stallMs = stall()
    await strike.heal()
    await sleep(1_000)
    for (const { load } of groups) load.stop()
    await untilAnswered(groups)
    await sleep(maxStalenessMs + 200)
    const within = { from: strike.at, until: healedAt }
    const plainMs = backAt(plain, within)
    const judged = await Promise.all(
      groups.map(
        async (group) =>
          [group.setting, await judge(group, { ...within, plainMs, promotedAt: promotedAt(group.setting) })] as const,
      ),
    )
    return { settings: Object.fromEntries(judged), stallMs }
  } finally {
    for (const close of closing) close()
  }

  async function startGroup(setting: string) {
    const space = `hf${++spaces}`
    const connections: Connection[] = []
    for (let n = 0; n < processCount; n++) connections.push(await engine.connect(setting, space, n))
    const processes = connections.map((one) => processOn(one))
    closing.push(() => connections.forEach(({ close }) => close()))
    const load = people(processes, connections[0]!.feed !== null)
    closing.push(() => load.stop())
    return { setting, space, processes, load }
  }

  function processOn({ store, feed, whenStale }: Connection): Process {
    const sessions = createSessions({ store, feed: feed ?? undefined, whenStale })
    closing.push(() => sessions.close())
    return sessions as Process
  }

  /** Writes one after the other, as long as this goes on. */
  async function startPlain(n: number, calls: Call[]): Promise<void> {
    const { write, close } = await engine.plain(n)
    const over = new AbortController()
    closing.push(() => {
      over.abort()
      close()
    })
    const run = async () => {
      for (; !over.signal.aborted; await sleep(plainEveryMs)) {
        const began = clock()
        const failed = new Promise<never>((_, reject) => setTimeout(reject, plainPatienceMs))
        const outcome = await Promise.race([write(), failed]).then(
          () => 'done' as const,
          () => 'unavailable' as const,
        )
        calls.push({ kind: 'write', n, began, ended: clock(), outcome })
      }
    }
    void run()
  }

  async function judge(
    { setting, space, processes, load }: Awaited<ReturnType<typeof startGroup>>,
    { plainMs, promotedAt, ...within }: Within & { plainMs: number | null; promotedAt: number },
  ): Promise<Outcome> {
    const hung = load.pending()
    const fresh = await engine.connect(setting, space, processCount)
    closing.push(() => fresh.close())
    const later = processOn(fresh)
    const { held } = load
    const ended = held.filter(({ state }) => state === 'ended')
    const first = await look(held)
    const isAsItShould = first.missing.length + first.updates.length + first.back.length === 0
    if (!isAsItShould) await sleep(staleForMs)
    const last = isAsItShould ? first : await look(held)
    const late = ended.filter(({ acceptedAt }) => acceptedAt > 0)

    /** What a process that is new sees of the live sessions, and any process of those that ended. */
    async function look(some: readonly Held[]) {
      const missing: Held[] = []
      const back: Held[] = []
      const updates: string[] = []
      for (const one of some) {
        if (one.state === 'live') {
          const session = await insisting(() => later.open(one.token))
          if (session.id === null) missing.push(one)
          else {
            const list = (await insisting(() => session.read('list'))) as string[]
            updates.push(...one.added.filter((what) => !list.includes(what)))
          }
        } else if (one.state === 'ended') {
          const again = [later, ...processes].map((sessions) => insisting(() => sessions.open(one.token)))
          if ((await Promise.all(again)).some(({ id }) => id !== null)) back.push(one)
        }
      }
      return { missing, back, updates }
    }

    const of = (kind: Call['kind']) => load.calls.filter((call) => call.kind === kind)
    const longest = (kind: Call['kind']) => Math.max(0, ...of(kind).map(({ began, ended }) => ended - began))
    return {
      promotedMs: promotedAt - within.from,
      plainMs,
      writesMs: backAt(of('write'), within),
      opensMs: backAt(of('open'), within),
      acknowledged: {
        sessions: held.length,
        updates: held.reduce((sum, { added }) => sum + added.length, 0),
        endings: ended.length,
      },
      // Of some their ending found that they had gone.
      lost: {
        sessions: last.missing.length + ended.filter(({ missed }) => missed).length,
        updates: last.updates.length,
      },
      missedAWhile: first.missing.filter((one) => !last.missing.includes(one)).length,
      cameBack: new Set([...late, ...first.back, ...last.back]).size,
      backForGood: last.back.length,
      lastAcceptMs: Math.max(0, ...late.map(({ acceptedAt, endedAt }) => acceptedAt - endedAt)),
      wronglyRefused: held.filter((one) => one.missed && one.state === 'live' && !last.missing.includes(one)).length,
      anonymousFailed: of('anonymous').filter(({ outcome }) => outcome !== 'done').length,
      longestMs: { open: longest('open'), write: longest('write'), anonymous: longest('anonymous') },
      hung,
      wrongs: load.wrongs.slice(0, 5),
    }
  }
}

interface Within {
  readonly from: number
  readonly until: number
}

/** When the last of the processes had its first success after its last failure, in ms after the fault. `null`: nothing failed. */
function backAt(calls: readonly Call[], { from, until }: Within): number | null {
  const inside = calls.filter(({ began }) => began >= from - plainPatienceMs && began < until)
  const backs = [...Map.groupBy(inside, ({ n }) => n).values()].map((mine) => {
    const failed = mine.filter(({ outcome, ended }) => outcome !== 'done' && ended > from)
    if (failed.length === 0) return null
    const lastBegan = Math.max(...failed.map(({ began }) => began))
    const successes = mine.filter(({ outcome, began }) => outcome === 'done' && began > lastBegan)
    return Math.min(...successes.map(({ ended }) => ended)) - from
  })
  const some = backs.filter((one) => one !== null)
  return some.length === 0 ? null : Math.max(...some)
}

/** Until everybody succeeded after the promotion, and nothing failed for a while. */
async function untilCalm(until: number, promotedAt: number, all: readonly (readonly Call[])[]): Promise<void> {
  const isCalm = () =>
    all.every((calls) => {
      const writes = calls.filter(({ kind, ended }) => kind === 'write' && ended > promotedAt)
      const lastFailed = Math.max(
        promotedAt,
        ...writes.filter(({ outcome }) => outcome !== 'done').map(({ ended }) => ended),
      )
      return (
        clock() > lastFailed + calmMs && writes.some(({ outcome, began }) => outcome === 'done' && began > lastFailed)
      )
    })
  while (!isCalm() && clock() < until) await sleep(50)
}

async function untilAnswered(groups: readonly { readonly load: People }[]): Promise<void> {
  for (const until = clock() + drainMs; groups.some(({ load }) => load.pending() > 0) && clock() < until;)
    await sleep(50)
}

/** What everybody who is told 503 does. */
async function insisting<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask()
    } catch (error) {
      if (attempt === 300) throw error
      if (attempt === 50) console.log(`   still away 5 s after all was whole: ${String(error)}`)
      await sleep(100)
    }
  }
}

function watchForStalls(): () => number {
  let before = clock()
  let longest = 0
  const timer = setInterval(() => {
    longest = Math.max(longest, clock() - before - 20)
    before = clock()
  }, 20)
  return () => {
    clearInterval(timer)
    return longest
  }
}
