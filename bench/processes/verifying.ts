// Verifiers of `revocation.ts`: they open, over and over, the session that is about to be ended among others that live on, and
// note when the last accepted opening of each began.
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { createSessions } from 'holdfast'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { connectRedis } from '../harness/contender.ts'
import { monotonicMs, report } from '../harness/forked.ts'

export type Asked =
  /** What else to open, and how long to wait after each round. */
  | { readonly type: 'load'; readonly tokens: readonly string[]; readonly pauseMs: number }
  | { readonly type: 'watch'; readonly n: number; readonly token: string }
  | { readonly type: 'last' }
export type Told =
  | { readonly type: 'ready' }
  /** Every verifier of this process has accepted the session from its cache. */
  | { readonly type: 'accepted' }
  /** Every one has refused it. */
  | { readonly type: 'refused' }
  /** Per session watched: when the last opening that a verifier of this process accepted began, in ms of `monotonicMs`. */
  | { readonly type: 'last'; readonly beganAt: readonly number[] }

/** Ended ones are tried again that often: an accept of one would be noted like any other. */
const retryEveryMs = 50

const client = await connectRedis()
const verifiers = Array.from({ length: Number(process.argv[2]) }, () =>
  createSessions({ store: redisStore(client), feed: redisFeed(client) }),
)
const beganAt: number[] = []
const watched: string[] = []
/** Verifiers that have not refused the session watched. */
let accepting: typeof verifiers = []
let isAccepted = false
let background: readonly string[] = []
let pauseMs = 1
let next = 0

const tell: (told: Told) => void = report((asked) => take(asked as Asked))
while (!verifiers.every((sessions) => sessions.status()!.fresh)) await sleep(10)
tell({ type: 'ready' })
await verify()

function take(asked: Asked): void {
  if (asked.type === 'last') return tell({ type: 'last', beganAt })
  if (asked.type === 'load') {
    background = asked.tokens
    pauseMs = asked.pauseMs
  } else {
    watched[asked.n] = asked.token
    accepting = verifiers
    isAccepted = false
  }
}

async function verify(): Promise<never> {
  let retriedAt = 0
  for (;;) {
    if (accepting.length > 0) await openWatched(watched.length - 1)
    if (background.length > 0) {
      for (const sessions of verifiers) await sessions.open(background[next++ % background.length]!)
    }
    if (watched.length > 1 && monotonicMs() - retriedAt > retryEveryMs) {
      await open(verifiers[next % verifiers.length]!, next++ % (watched.length - 1))
      retriedAt = monotonicMs()
    }
    await (pauseMs === 0 ? turn() : sleep(pauseMs))
  }
}

async function openWatched(n: number): Promise<void> {
  const before = verifiers.map((sessions) => sessions.status()!.misses)
  const still: typeof verifiers = []
  for (const sessions of accepting) if (await open(sessions, n)) still.push(sessions)
  // Another one may be watched by now.
  if (n !== watched.length - 1) return
  accepting = still
  if (still.length === 0) tell({ type: 'refused' })
  else if (!isAccepted && verifiers.every((sessions, i) => sessions.status()!.misses === before[i])) {
    isAccepted = true
    tell({ type: 'accepted' })
  }
}

async function open(sessions: (typeof verifiers)[number], n: number): Promise<boolean> {
  const began = monotonicMs()
  const isAccepted = (await sessions.open(watched[n]!)).userId !== null
  if (isAccepted) beganAt[n] = Math.max(beganAt[n] ?? 0, began)
  return isAccepted
}
