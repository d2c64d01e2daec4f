// `npm run bench`: what a session costs a request, beside the same framework without one and beside its peers.
// Options: --rounds 5 --seconds 4 --warmup 2 --only <part of a name> --write
import { parseArgs } from 'node:util'
import { requireLoadTools } from './harness/machine.ts'
import { person } from './harness/person.ts'
import { launch, type Contestant } from './harness/processes.ts'
import { benchRedis, type BenchRedis } from './harness/redis.ts'
import { heading, median, provenance, publish, round, save, shuffled, table } from './harness/report.ts'
import { sessionCount, startSessions } from './harness/start.ts'
import { connections, load, type Request } from './harness/wrk.ts'

type Framework = 'express' | 'fastify' | 'http'

interface Contender {
  readonly name: string
  readonly framework: Framework
  readonly kind: 'bare' | 'floor' | 'holdfast' | 'peer'
  readonly module: string
  readonly variant: string
}

const contenders: readonly Contender[] = [
  { name: 'Express', framework: 'express', kind: 'bare', module: 'express', variant: 'bare' },
  { name: 'Express, one bare GET', framework: 'express', kind: 'floor', module: 'express', variant: 'get' },
  {
    name: 'Holdfast on memory, Express',
    framework: 'express',
    kind: 'holdfast',
    module: 'holdfast-express',
    variant: 'memory',
  },
  {
    name: 'Holdfast on Redis, Express',
    framework: 'express',
    kind: 'holdfast',
    module: 'holdfast-express',
    variant: 'redis',
  },
  {
    name: 'express-session on memory',
    framework: 'express',
    kind: 'peer',
    module: 'express-session',
    variant: 'memory',
  },
  {
    name: 'express-session + connect-redis',
    framework: 'express',
    kind: 'peer',
    module: 'express-session',
    variant: 'redis',
  },
  {
    name: "the same with node-redis's default timeout",
    framework: 'express',
    kind: 'peer',
    module: 'express-session',
    variant: 'redis-timeouts',
  },
  { name: 'Fastify', framework: 'fastify', kind: 'bare', module: 'fastify', variant: 'bare' },
  {
    name: 'Holdfast on Redis, Fastify',
    framework: 'fastify',
    kind: 'holdfast',
    module: 'holdfast-fastify',
    variant: 'redis',
  },
  {
    name: '@fastify/session + connect-redis',
    framework: 'fastify',
    kind: 'peer',
    module: 'fastify-session',
    variant: 'rolling',
  },
  {
    name: 'the same, not rolling',
    framework: 'fastify',
    kind: 'peer',
    module: 'fastify-session',
    variant: 'not-rolling',
  },
  { name: 'better-auth on Redis', framework: 'fastify', kind: 'peer', module: 'better-auth', variant: 'redis' },
  {
    name: 'better-auth on Redis, cookie cache',
    framework: 'fastify',
    kind: 'peer',
    module: 'better-auth',
    variant: 'cookie-cache',
  },
  { name: 'node:http', framework: 'http', kind: 'bare', module: 'http', variant: 'bare' },
  { name: 'node:http, a Map lookup', framework: 'http', kind: 'floor', module: 'http', variant: 'map' },
  { name: 'node:http, one bare GET', framework: 'http', kind: 'floor', module: 'http', variant: 'get' },
  {
    name: 'Holdfast on memory, node:http',
    framework: 'http',
    kind: 'holdfast',
    module: 'holdfast-http',
    variant: 'memory',
  },
  {
    name: 'Holdfast on Redis, node:http',
    framework: 'http',
    kind: 'holdfast',
    module: 'holdfast-http',
    variant: 'redis',
  },
  { name: 'iron-session', framework: 'http', kind: 'peer', module: 'iron-session', variant: '' },
]

interface Measurement {
  readonly requestsPerSecond: number
  readonly cpuUsPerRequest: number
  /** The part of it that the process spent outside the kernel, where network and wake-ups are paid. */
  readonly userUsPerRequest: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly redisCommandsPerRequest: number
  /** How busy the server kept its core; far below 1 something else was the bottleneck. */
  readonly busy: number
}

interface Result extends Contender {
  readonly median: Measurement
  /** Differences within a round, then their median: what drifts from round to round cancels out. */
  readonly cpuUsOverBare: number
  readonly bareKept: number
  readonly rounds: readonly Measurement[]
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    warmup: { type: 'string', default: '2' },
    only: { type: 'string', multiple: true, default: [] },
    write: { type: 'boolean', default: false },
  },
})
const o = { rounds: Number(values.rounds), seconds: Number(values.seconds), warmup: Number(values.warmup) }
await main()

async function main(): Promise<void> {
  requireLoadTools()
  const chosen = choose(values.only)
  const expected = o.rounds * chosen.length * (o.seconds + o.warmup + 3)
  console.log(`${chosen.length} contenders, ${o.rounds} rounds: about ${Math.ceil(expected / 60)} minutes\n`)

  const redis = await benchRedis()
  try {
    const measured = await measure(chosen, redis)
    const results = chosen.map((contender) => summary(contender, measured))
    const about = { ...heading(redis.version), options: { ...o, connections, sessions: sessionCount } }
    const text = `${markdown(results)}\n\n${provenance(about)}; ${o.rounds} rounds.`
    console.log(`\n${text}`)
    if (values.only.length === 0) save('requests', { ...about, results })
    if (values.write) publish('requests', text)
  } finally {
    await redis.stop()
  }
}

/** With every chosen one the bare framework it is compared with. */
function choose(only: readonly string[]): readonly Contender[] {
  if (only.length === 0) return contenders
  const named = contenders.filter(({ name }) => only.some((part) => name.toLowerCase().includes(part.toLowerCase())))
  return contenders.filter(
    (c) => named.includes(c) || (c.kind === 'bare' && named.some((n) => n.framework === c.framework)),
  )
}

type Rounds = ReadonlyMap<Contender, readonly Measurement[]>

/** Every round runs every contender once, each in a new process, in a new order. */
async function measure(chosen: readonly Contender[], redis: BenchRedis): Promise<Rounds> {
  const measured = new Map<Contender, Measurement[]>(chosen.map((contender) => [contender, []]))
  for (let n = 1; n <= o.rounds; n++) {
    for (const contender of shuffled(chosen)) {
      const measurement = await measureOne(contender, redis)
      measured.get(contender)!.push(measurement)
      const { requestsPerSecond, cpuUsPerRequest, busy } = measurement
      console.log(
        `round ${n}  ${contender.name.padEnd(44)} ${Math.round(requestsPerSecond).toString().padStart(6)}/s` +
          `  ${cpuUsPerRequest.toFixed(1).padStart(6)} µs  ${Math.round(busy * 100)} % busy`,
      )
    }
  }
  return measured
}

async function measureOne({ name, kind, module, variant }: Contender, redis: BenchRedis): Promise<Measurement> {
  await redis.empty()
  await using server = await launch(module, variant, redis.url)
  const cookies = await startSessions(server.port)
  if (kind === 'holdfast' || kind === 'peer') await checkAnswers(name, server, cookies)
  const requests = cookies.map((cookie): Request => ({ method: 'GET', path: '/', headers: { cookie } }))

  await load(server.port, requests, { seconds: o.warmup })
  const commandsBefore = await redis.commands()
  const cpuBefore = await server.cpu()
  const { requests: count, seconds, p50Ms, p99Ms } = await load(server.port, requests, { seconds: o.seconds })
  const cpuAfter = await server.cpu()
  const userUs = cpuAfter.user - cpuBefore.user
  const cpuUs = userUs + cpuAfter.system - cpuBefore.system
  const commands = (await redis.commands()) - commandsBefore
  return {
    requestsPerSecond: round(count / seconds, 0),
    cpuUsPerRequest: round(cpuUs / count, 2),
    userUsPerRequest: round(userUs / count, 2),
    p50Ms: round(p50Ms, 2),
    p99Ms: round(p99Ms, 2),
    redisCommandsPerRequest: round(commands / count, 2),
    busy: round(cpuUs / 1e6 / seconds, 3),
  }
}

/** A fast wrong answer is no result. */
async function checkAnswers(name: string, { port }: Contestant, cookies: readonly string[]): Promise<void> {
  for (const n of [0, 1, Math.floor(sessionCount / 2), sessionCount - 1]) {
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie: cookies[n]! } })
    const { userId, data } = person(n)
    const expected = JSON.stringify({ userId, data })
    const got = await response.text()
    if (got !== expected) throw new Error(`${name} answered ${got}\ninstead of ${expected}`)
  }
}

function summary(contender: Contender, measured: Rounds): Result {
  const rounds = measured.get(contender)!
  const bare = [...measured].find(([{ kind, framework }]) => kind === 'bare' && framework === contender.framework)![1]
  const over = (of: (mine: Measurement, bare: Measurement) => number) =>
    median(rounds.map((mine, i) => of(mine, bare[i]!)))
  const middle = (key: keyof Measurement) => round(median(rounds.map((measurement) => measurement[key])), 3)
  return {
    ...contender,
    median: {
      requestsPerSecond: middle('requestsPerSecond'),
      cpuUsPerRequest: middle('cpuUsPerRequest'),
      userUsPerRequest: middle('userUsPerRequest'),
      p50Ms: middle('p50Ms'),
      p99Ms: middle('p99Ms'),
      redisCommandsPerRequest: middle('redisCommandsPerRequest'),
      busy: middle('busy'),
    },
    cpuUsOverBare: round(
      over((mine, bare) => mine.cpuUsPerRequest - bare.cpuUsPerRequest),
      2,
    ),
    bareKept: round(
      over((mine, bare) => mine.requestsPerSecond / bare.requestsPerSecond),
      4,
    ),
    rounds,
  }
}

function markdown(results: readonly Result[]): string {
  const header = [
    '',
    'requests/s',
    'CPU µs per request',
    'CPU µs over bare',
    'of bare kept',
    'p50 ms',
    'p99 ms',
    'Redis commands per request',
  ]
  return table(
    header,
    results.map(({ name, kind, median, cpuUsOverBare, bareKept }) => [
      kind === 'holdfast' ? `**${name}**` : name,
      Math.round(median.requestsPerSecond).toLocaleString('en'),
      median.cpuUsPerRequest.toFixed(1),
      kind === 'bare' ? '–' : cpuUsOverBare.toFixed(1),
      kind === 'bare' ? '–' : `${(bareKept * 100).toFixed(0)} %`,
      median.p50Ms.toFixed(2),
      median.p99Ms.toFixed(2),
      median.redisCommandsPerRequest.toFixed(1),
    ]),
  )
}
