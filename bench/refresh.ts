// `npm run bench:refresh`: 100 refreshes of one token at once, from 3 processes, 5 % of the answers lost; then an older token that
// somebody stole. Options: --sessions 50 --write
import { parseArgs } from 'node:util'
import { createSessions } from 'holdfast'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { connectRedis } from './harness/contender.ts'
import { forked, monotonicMs } from './harness/forked.ts'
import { amr, person, roles } from './harness/person.ts'
import { benchRedis } from './harness/redis.ts'
import { heading, provenance, publish, round, save, table } from './harness/report.ts'
import { signing } from './harness/tokens.ts'
import type { Asked, Told } from './processes/refreshing.ts'

const generations = 10
const clients = 100
const lost = 0.05
const processCount = 3
/** By one client. */
const once = { clients: 1, lost: 0 }

const { values } = parseArgs({
  options: { sessions: { type: 'string', default: '50' }, write: { type: 'boolean', default: false } },
})
const sessionCount = Number(values.sessions)
const redis = await benchRedis(null)
const processes = Array.from({ length: processCount }, () => forked<Told>('refreshing', redis.url))
try {
  await Promise.all(processes.map((one) => one.hear('ready')))
  const { seconds, ...counts } = await measure()
  const results = { ...counts, refreshesPerSecond: round(counts.refreshes / seconds, 0) }
  const about = {
    ...heading(redis.version),
    options: { sessions: sessionCount, generations, clients, lost, processes: processCount },
  }
  const text = `${markdown(results)}\n\n${provenance(about)}.`
  console.log(text)
  save('refresh', { ...about, results })
  if (values.write) publish('refresh', text)
  const isRight = results.signedOut === 0 && results.forks === 0 && results.theftsFound === results.thefts
  process.exitCode = isRight ? 0 : 1
} finally {
  await Promise.all(processes.map((one) => one[Symbol.asyncDispose]()))
  await redis.stop()
}
process.exit()

interface Counts {
  /** Generations refreshed, each by all clients at once. */
  readonly generations: number
  readonly refreshes: number
  /** Clients who got an answer that was no successor. */
  readonly signedOut: number
  /** Generations that did not have exactly one live successor. */
  readonly forks: number
  readonly thefts: number
  /** Stolen tokens that were refused as such, and ended the session for whoever holds it. */
  readonly theftsFound: number
}

async function measure(): Promise<Counts & { seconds: number }> {
  const client = await connectRedis('none', redis.url)
  using _ = { [Symbol.dispose]: () => client.destroy() }
  const { credentials } = signing('EdDSA')
  const sessions = createSessions({ store: redisStore(client), feed: redisFeed(client), credentials })
  const counts = { generations: 0, refreshes: 0, signedOut: 0, forks: 0, thefts: 0, theftsFound: 0, seconds: 0 }
  for (let n = 0; n < sessionCount; n++) {
    const { refreshToken } = await sessions.start(person(n).userId, { roles, amr })
    const tokens = [refreshToken!]
    for (let generation = 0; generation < generations; generation++) {
      const beganAt = monotonicMs()
      const told = await refreshed(tokens.at(-1)!, { clients, lost })
      counts.seconds += (monotonicMs() - beganAt) / 1000
      const successors = new Set(told.flatMap(({ successors }) => successors))
      counts.generations++
      counts.refreshes += told.reduce((sum, { calls }) => sum + calls, 0)
      counts.signedOut += told.reduce((sum, { refused }) => sum + refused.length, 0)
      if (successors.size !== 1) counts.forks++
      const [successor] = successors
      if (successor === undefined) break
      tokens.push(successor)
    }
    // Not the latest but one: inside the window that could be an honest client who lost the answer.
    const stolen = tokens[Math.floor(Math.random() * (tokens.length - 2))]!
    const [first, ...rest] = [...(await refreshed(stolen, once)), ...(await refreshed(tokens.at(-1)!, once))]
    counts.thefts++
    if (first!.refused[0] === 'refresh-reused' && rest.every(({ refused }) => refused.length === 1)) {
      counts.theftsFound++
    }
  }
  sessions.close()
  return counts
}

/** The clients are spread over the processes. */
function refreshed(token: string, o: { clients: number; lost: number }): Promise<readonly Refreshed[]> {
  const shares = processes.map((_, i) => Math.floor((o.clients + i) / processCount))
  const asked = processes.map(async (one, i) => {
    if (shares[i] === 0) return []
    const told = one.hear('refreshed')
    one.say({ token, clients: shares[i]!, lost: o.lost } satisfies Asked)
    return [await told]
  })
  return Promise.all(asked).then((all) => all.flat())
}

type Refreshed = Extract<Told, { type: 'refreshed' }>

function markdown(counts: Counts & { refreshesPerSecond: number }): string {
  const { generations, refreshes, signedOut, forks, thefts, theftsFound, refreshesPerSecond } = counts
  return table(
    ['', ''],
    [
      ['generations, each refreshed by 100 clients at once', generations],
      ['refreshes', refreshes],
      ['clients signed out', signedOut],
      ['generations without exactly one successor', forks],
      ['stolen older tokens found', `${theftsFound} of ${thefts}`],
      ['refreshes per second', refreshesPerSecond],
    ].map(([name, value]) => [String(name), typeof value === 'number' ? value.toLocaleString('en') : String(value)]),
  )
}
