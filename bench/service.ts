// The session service on one core with Redis: how many verifications, starts and endings it answers per second.
// Options: --rounds 5 --seconds 4 --warmup 2 --write
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createSessions } from 'holdfast'
import { redisStore } from 'holdfast/stores/redis'
import { createClient } from 'redis'
import { freePort } from '../scripts/servers/server.ts'
import { withoutTimeout } from './harness/contender.ts'
import { cpuOf, requireLoadTools, serverCore } from './harness/machine.ts'
import { address, amr, person, roles, userAgent } from './harness/person.ts'
import { benchRedis, type BenchRedis } from './harness/redis.ts'
import { heading, median, provenance, publish, round, save, shuffled, table } from './harness/report.ts'
import { sessionCount } from './harness/start.ts'
import { connections, load, type Request } from './harness/wrk.ts'

const calls = ['verify', 'start', 'end'] as const
type Call = (typeof calls)[number]

interface Measurement {
  readonly requestsPerSecond: number
  readonly cpuUsPerRequest: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly redisCommandsPerRequest: number
  readonly busy: number
}

interface Started {
  readonly id: string
  readonly token: string
}

const adminSecret = 'the-secret-of-a-bench-which-guards-nothing'
const authorization = `Basic ${Buffer.from(`admin:${adminSecret}`).toString('base64')}`
const json = { authorization, 'content-type': 'application/json' }

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    warmup: { type: 'string', default: '2' },
    write: { type: 'boolean', default: false },
  },
})
const o = { rounds: Number(values.rounds), seconds: Number(values.seconds), warmup: Number(values.warmup) }
requireLoadTools()
console.log(`about ${Math.ceil((o.rounds * calls.length * (o.seconds + o.warmup + 8)) / 60)} minutes\n`)
const redis = await benchRedis()
try {
  const measured = await measure(redis)
  const about = { ...heading(redis.version), options: { ...o, connections, sessions: sessionCount } }
  const results = calls.map((call) => summary(call, measured[call]))
  const text = `${markdown(results)}\n\n${provenance(about)}; ${o.rounds} rounds.`
  console.log(`\n${text}`)
  save('service', { ...about, results })
  if (values.write) publish('service', text)
} finally {
  await redis.stop()
}

async function measure(redis: BenchRedis): Promise<Record<Call, Measurement[]>> {
  const measured: Record<Call, Measurement[]> = { verify: [], start: [], end: [] }
  for (let n = 1; n <= o.rounds; n++) {
    for (const call of shuffled(calls)) {
      const measurement = await measureOne(call, redis)
      measured[call].push(measurement)
      const { requestsPerSecond, cpuUsPerRequest, busy } = measurement
      console.log(
        `round ${n}  ${call.padEnd(8)} ${requestsPerSecond}/s  ${cpuUsPerRequest} µs  ${Math.round(busy * 100)} % busy`,
      )
    }
  }
  return measured
}

async function measureOne(call: Call, redis: BenchRedis): Promise<Measurement> {
  await redis.empty()
  await using service = await startService(redis.url)
  const requests = await prepare(call, redis.url)
  // An ending can be made once: what warms up must be other sessions than what is measured.
  const forWarmup = call === 'end' ? requests.splice(0, Math.floor(requests.length / 3)) : requests
  await load(service.port, forWarmup, { seconds: o.warmup, once: call === 'end' })

  const commandsBefore = await redis.commands()
  const cpuBefore = cpuOf(service.pid)
  const done = await load(service.port, requests, { seconds: o.seconds, once: call === 'end' })
  const cpuUs = cpuOf(service.pid) - cpuBefore
  const commands = (await redis.commands()) - commandsBefore
  return {
    requestsPerSecond: round(done.requests / done.seconds, 0),
    cpuUsPerRequest: round(cpuUs / done.requests, 1),
    p50Ms: round(done.p50Ms, 2),
    p99Ms: round(done.p99Ms, 2),
    redisCommandsPerRequest: round(commands / done.requests, 2),
    busy: round(cpuUs / 1e6 / done.seconds, 3),
  }
}

async function prepare(call: Call, url: string): Promise<Request[]> {
  if (call === 'start') return Array.from({ length: sessionCount }, (_, n) => startRequest(n))
  if (call === 'verify') {
    return (await startSessions(url, sessionCount)).map(({ token }) => ({
      method: 'POST',
      path: '/v1/sessions/verify',
      headers: json,
      body: JSON.stringify({ token }),
    }))
  }
  const enough = 15_000 * (o.seconds + o.warmup)
  return (await startSessions(url, enough)).map(({ id }) => ({
    method: 'DELETE',
    path: `/v1/sessions/${id}`,
    headers: { authorization },
  }))
}

function startRequest(n: number): Request {
  const { userId, data } = person(n)
  const body = JSON.stringify({ userId, roles, amr, data: { profile: data } })
  return { method: 'POST', path: '/v1/sessions', headers: json, body }
}

/** Straight into the store of the service, by the same code. */
async function startSessions(url: string, count: number): Promise<Started[]> {
  const client = createClient({ url, ...withoutTimeout })
  client.on('error', (error: unknown) => {
    throw error
  })
  await client.connect()
  const sessions = createSessions({ store: redisStore(client) })
  const started: Started[] = []
  const atOnce = 64
  const start = async (n: number): Promise<Started> => {
    const { userId, data } = person(n)
    const { session, token } = await sessions.start(userId, { roles, amr, userAgent, address, data: { profile: data } })
    return { id: session.id!, token }
  }
  for (let n = 0; n < count; n += atOnce) {
    started.push(...(await Promise.all(Array.from({ length: atOnce }, (_, i) => start(n + i)))))
  }
  client.destroy()
  return started
}

async function startService(redisUrl: string) {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-service-'))
  const port = await freePort()
  const main = join(import.meta.dirname, '..', 'service', 'src', 'main.ts')
  const command = [process.execPath, '--conditions=source', '--disable-warning=ExperimentalWarning', main, 'serve']
  const child = spawn('taskset', ['-c', serverCore, ...command], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      NODE_ENV: 'production',
      HOLDFAST_PORT: String(port),
      HOLDFAST_DATA: folder,
      HOLDFAST_STORE: redisUrl,
      HOLDFAST_ADMIN_SECRET: adminSecret,
    },
  })
  let complaints = ''
  child.stderr.on('data', (chunk: Buffer) => (complaints = `${complaints}${chunk.toString()}`.slice(0, 2000)))
  const gone = once(child, 'exit')
  await untilReady(port, () => (child.exitCode === null ? null : complaints))
  return {
    port,
    pid: child.pid!,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await gone
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function untilReady(port: number, ended: () => string | null): Promise<void> {
  const until = Date.now() + 15_000
  const isReady = async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok
  while (!(await isReady().catch(() => false))) {
    const complaints = ended()
    if (complaints !== null || Date.now() > until) throw new Error(`the service did not start: ${complaints ?? ''}`)
    await sleep(50)
  }
}

function summary(call: Call, rounds: readonly Measurement[]) {
  const middle = (key: keyof Measurement) => round(median(rounds.map((measurement) => measurement[key])), 3)
  return {
    call,
    median: {
      requestsPerSecond: middle('requestsPerSecond'),
      cpuUsPerRequest: middle('cpuUsPerRequest'),
      p50Ms: middle('p50Ms'),
      p99Ms: middle('p99Ms'),
      redisCommandsPerRequest: middle('redisCommandsPerRequest'),
      busy: middle('busy'),
    },
    rounds,
  }
}

function markdown(results: readonly ReturnType<typeof summary>[]): string {
  return table(
    [
      '',
      'requests/s',
      'CPU µs per request',
      'p50 ms',
      'p99 ms',
      'Redis commands per request, those in scripts counted',
    ],
    results.map(({ call, median }) => [
      call,
      Math.round(median.requestsPerSecond).toLocaleString('en'),
      median.cpuUsPerRequest.toFixed(1),
      median.p50Ms.toFixed(2),
      median.p99Ms.toFixed(2),
      median.redisCommandsPerRequest.toFixed(1),
    ]),
  )
}
