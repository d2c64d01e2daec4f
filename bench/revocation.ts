// `npm run bench:revocation`: from `end()` answered to the last accept of the ended session, by 40 verifiers that have it cached, in
// 8 processes on this machine with one Redis. Options: --endings 500 (of each load) --write
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createSessions } from 'holdfast'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { connectRedis } from './harness/contender.ts'
import { forked, monotonicMs, type Forked } from './harness/forked.ts'
import { amr, person, roles } from './harness/person.ts'
import { benchRedis } from './harness/redis.ts'
import { heading, provenance, publish, quantile, round, save, table } from './harness/report.ts'
import type { Asked, Told } from './processes/verifying.ts'

const processCount = 8
const verifiersPerProcess = 5
const backgroundSessions = 100
/** A verifier that never pauses keeps its process running: eight of them wait for a core as much as for the feed. */
const loads = [
  { name: 'each verifier opens 2,000 sessions a second', pauseMs: 1 },
  { name: 'all open as fast as they can, no core is idle', pauseMs: 0 },
] as const
/** The default bound. */
const maxStalenessMs = 1000

const { values } = parseArgs({
  options: { endings: { type: 'string', default: '500' }, write: { type: 'boolean', default: false } },
})
const endings = Number(values.endings)
const redis = await benchRedis(null)
const processes = Array.from({ length: processCount }, () =>
  forked<Told>('verifying', redis.url, [String(verifiersPerProcess)]),
)
try {
  await Promise.all(processes.map((one) => one.hear('ready')))
  const measured = await measure()
  const results = loads.map(({ name }, i) => {
    const { lateMs, lagMs, endMs } = measured[i]!
    return {
      load: name,
      pastTheBound: lateMs.filter((ms) => ms > maxStalenessMs).length,
      lateMs: quantiles(lateMs),
      lagMs: quantiles(lagMs),
      endMs: quantiles(endMs),
    }
  })
  const pastTheBound = results.reduce((sum, one) => sum + one.pastTheBound, 0)
  const verifiers = processCount * verifiersPerProcess
  const about = { ...heading(redis.version), options: { endings, verifiers, processes: processCount, maxStalenessMs } }
  const text = `${markdown(results)}\n\n${endings} endings each, ${pastTheBound} accepts past the bound; ${provenance(about)}.`
  console.log(text)
  save('revocation', { ...about, results })
  if (values.write) publish('revocation', text)
  process.exitCode = pastTheBound === 0 ? 0 : 1
} finally {
  await Promise.all(processes.map((one) => one[Symbol.asyncDispose]()))
  await redis.stop()
}
process.exit()

interface Quantiles {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

interface Measured {
  /** Negative where every verifier had refused before `end()` was answered. */
  readonly lateMs: readonly number[]
  readonly lagMs: readonly number[]
  readonly endMs: readonly number[]
}

/** Of each load. */
async function measure(): Promise<readonly Measured[]> {
  const client = await connectRedis('none', redis.url)
  using _ = { [Symbol.dispose]: () => client.destroy() }
  const sessions = createSessions({ store: redisStore(client), feed: redisFeed(client) })
  const start = async (n: number) => {
    const { session, token } = await sessions.start(person(n).userId, { roles, amr })
    return { id: session.id!, token }
  }
  const background = await Promise.all(Array.from({ length: backgroundSessions }, (_, n) => start(n)))
  const tokens = background.map(({ token }) => token)

  const endedAt: { answeredAt: number; endMs: number; lagMs: number | null }[] = []
  for (const { pauseMs } of loads) {
    say({ type: 'load', tokens, pauseMs })
    for (let i = 0; i < endings; i++) {
      const n = endedAt.length
      const { id, token } = await start(n)
      await said('accepted', { type: 'watch', n, token })
      const refused = Promise.all(processes.map((one) => one.hear('refused')))
      const calledAt = monotonicMs()
      if (!(await sessions.end(id))) throw new Error('a session was not there to be ended')
      const answeredAt = monotonicMs()
      await refused
      endedAt.push({ answeredAt, endMs: answeredAt - calledAt, lagMs: sessions.status()!.lagMs })
    }
  }
  // For whoever would accept one again.
  await sleep(2 * maxStalenessMs)
  const last = await said('last', { type: 'last' })
  sessions.close()
  const lateMs = endedAt.map(({ answeredAt }, n) => Math.max(...last.map(({ beganAt }) => beganAt[n]!)) - answeredAt)
  return loads.map((_, i) => {
    const mine = endedAt.slice(i * endings, (i + 1) * endings)
    return {
      lateMs: lateMs.slice(i * endings, (i + 1) * endings),
      lagMs: mine.flatMap(({ lagMs }) => lagMs ?? []),
      endMs: mine.map(({ endMs }) => endMs),
    }
  })
}

interface Result {
  readonly load: string
  readonly lateMs: Quantiles
  readonly lagMs: Quantiles
  readonly endMs: Quantiles
}

function markdown(results: readonly Result[]): string {
  const cells = ({ p50, p99, max }: Quantiles) => [p50.toFixed(1), p99.toFixed(1), max.toFixed(1)].join(' / ')
  return table(
    ['ms: p50 / p99 / max', '`end()` answered → last accept anywhere', 'lag of the feed', '`end()`'],
    results.map(({ load, lateMs, lagMs, endMs }) => [load, cells(lateMs), cells(lagMs), cells(endMs)]),
  )
}

function say(asked: Asked): void {
  for (const one of processes) one.say(asked)
}

/** Asks all, and waits for the answers of all. */
function said<T extends Told['type']>(type: T, asked: Asked): Promise<readonly (Told & { type: T })[]> {
  const answers = Promise.all(processes.map((one: Forked<Told>) => one.hear(type)))
  say(asked)
  return answers as Promise<readonly (Told & { type: T })[]>
}

function quantiles(values: readonly number[]): Quantiles {
  return {
    p50: round(quantile(values, 0.5), 3),
    p99: round(quantile(values, 0.99), 3),
    max: round(Math.max(...values), 3),
  }
}
