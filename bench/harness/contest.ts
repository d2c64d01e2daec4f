// Contenders side by side: rounds, what is measured in each, and the table that comes of it.
import { parseArgs } from 'node:util'
import { requireLoadTools } from './machine.ts'
import { answer, content, type Question } from './person.ts'
import { launch, type Contestant } from './processes.ts'
import { benchRedis, type BenchRedis } from './redis.ts'
import { heading, median, provenance, publish, round, save, shuffled, table } from './report.ts'
import { sessionCount, startSessions, type Headers } from './start.ts'
import { connections as usualConnections, load, type Request } from './wrk.ts'

export interface Contender {
  readonly name: string
  readonly framework: 'express' | 'fastify' | 'fetch' | 'hono' | 'http' | 'koa' | 'nest'
  readonly kind: 'bare' | 'floor' | 'holdfast' | 'peer'
  /** The credential comes as a bearer token, of another size than a cookie: compared with a bare one that is sent the same. */
  readonly bearer?: true
  readonly module: string
  readonly variant: string
}

interface Measurement {
  readonly requestsPerSecond: number
  readonly cpuUsPerRequest: number
  /** The part of it that the process spent outside the kernel, where network and wake-ups are paid. */
  readonly userUsPerRequest: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly redisCommandsPerRequest: number
  /** Of the header that brings the credential. */
  readonly credentialBytes: number
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

interface Lengths {
  readonly connections: number
  readonly rounds: number
  readonly seconds: number
  readonly warmup: number
}

/**
 * Measures the contenders answering `question`, as the command line says: `--rounds 5 --seconds 4 --warmup 2 --only <part of a
 * name> --write`. The results go to `bench/results/<name>.json`, and with `--write` between the markers of that name.
 */
export async function contest(
  name: string,
  question: Question,
  contenders: readonly Contender[],
  connections = usualConnections,
): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '4' },
      warmup: { type: 'string', default: '2' },
      only: { type: 'string', multiple: true, default: [] },
      write: { type: 'boolean', default: false },
    },
  })
  const o: Lengths = {
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    warmup: Number(values.warmup),
    connections,
  }
  requireLoadTools()
  const chosen = choose(contenders, values.only)
  const expected = o.rounds * chosen.length * (o.seconds + o.warmup + 3)
  console.log(`${chosen.length} contenders, ${o.rounds} rounds: about ${Math.ceil(expected / 60)} minutes\n`)

  const redis = await benchRedis()
  try {
    const measured = await measure(chosen, question, o, redis)
    const results = chosen.map((contender) => summary(contender, measured))
    const about = { ...heading(redis.version), options: { ...o, sessions: sessionCount } }
    const text = `${markdown(results)}\n\n${provenance(about)}; ${o.rounds} rounds.`
    console.log(`\n${text}`)
    if (values.only.length === 0) save(name, { ...about, results })
    if (values.write) publish(name, text)
  } finally {
    await redis.stop()
  }
}

/** With every chosen one the bare framework it is compared with. */
function choose(contenders: readonly Contender[], only: readonly string[]): readonly Contender[] {
  if (only.length === 0) return contenders
  const named = contenders.filter(({ name }) => only.some((part) => name.toLowerCase().includes(part.toLowerCase())))
  return contenders.filter((c) => named.includes(c) || named.some((n) => isBareOf(c, n)))
}

function isBareOf(bare: Contender, { framework, bearer }: Contender): boolean {
  return bare.kind === 'bare' && bare.framework === framework && bare.bearer === bearer
}

type Rounds = ReadonlyMap<Contender, readonly Measurement[]>

/** Every round runs every contender once, each in a new process, in a new order. */
async function measure(
  chosen: readonly Contender[],
  question: Question,
  o: Lengths,
  redis: BenchRedis,
): Promise<Rounds> {
  const measured = new Map<Contender, Measurement[]>(chosen.map((contender) => [contender, []]))
  for (let n = 1; n <= o.rounds; n++) {
    for (const contender of shuffled(chosen)) {
      const measurement = await measureOne(contender, question, o, redis)
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

async function measureOne(
  { name, kind, module, variant }: Contender,
  question: Question,
  o: Lengths,
  redis: BenchRedis,
): Promise<Measurement> {
  await redis.empty()
  await using server = await launch(module, variant, redis.url, { question })
  const sessions = await startSessions(server.port)
  if (kind === 'holdfast' || kind === 'peer') await checkAnswers(name, question, server, sessions)
  const requests = sessions.map((headers): Request => ({ method: 'GET', path: '/', headers }))

  await load(server.port, requests, { seconds: o.warmup, connections: o.connections })
  const commandsBefore = await redis.commands()
  const cpuBefore = await server.cpu()
  const {
    requests: count,
    seconds,
    p50Ms,
    p99Ms,
  } = await load(server.port, requests, { seconds: o.seconds, connections: o.connections })
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
    credentialBytes: Object.values(sessions[0]!).join('').length,
    busy: round(cpuUs / 1e6 / seconds, 3),
  }
}

/** A fast wrong answer is no result. */
async function checkAnswers(
  name: string,
  question: Question,
  { port }: Contestant,
  sessions: readonly Headers[],
): Promise<void> {
  for (const n of [0, 1, Math.floor(sessionCount / 2), sessionCount - 1]) {
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: sessions[n]! })
    const expected = JSON.stringify(answer(question, content(question, n)))
    const got = await response.text()
    if (got !== expected) throw new Error(`${name} answered ${got}\ninstead of ${expected}`)
  }
}

function summary(contender: Contender, measured: Rounds): Result {
  const rounds = measured.get(contender)!
  const bare = [...measured].find(([other]) => isBareOf(other, contender))![1]
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
      credentialBytes: middle('credentialBytes'),
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
