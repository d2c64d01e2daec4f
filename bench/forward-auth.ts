// `npm run bench:forward-auth`: what a proxy's question costs, beside a bare node:http and a bare Fastify that are sent the same headers.
// Options: --rounds 5 --seconds 3 --warmup 6 --write
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { freePort } from '../scripts/servers/server.ts'
import { cpuOf, requireLoadTools, serverCore } from './harness/machine.ts'
import { amr, person, roles } from './harness/person.ts'
import { launch } from './harness/processes.ts'
import { heading, median, provenance, publish, round, save, shuffled, table } from './harness/report.ts'
import { sessionCount } from './harness/start.ts'
import { load, type Request } from './harness/wrk.ts'

interface Server {
  readonly name: string
  readonly port: number
  readonly path: string
  /** In µs. */
  cpu(): Promise<number>
}

interface Measurement {
  readonly requestsPerSecond: number
  readonly cpuUsPerRequest: number
  readonly p99Ms: number
}

/** Few: with many, whoever has nothing to do falls asleep, and being woken costs more than what is measured. */
const connections = 4
const adminSecret = 'the-secret-of-a-bench-which-guards-nothing'
const rules = {
  roles: { [roles[0]!]: ['orders:read'] },
  rules: [
    { host: 'shop.example', path: '/sign-in', allow: 'public' },
    { host: 'shop.example', path: '/assets/*', allow: 'public' },
    { host: 'shop.example', path: '/account/*', allow: 'signed-in', within: '5m' },
    {
      host: 'shop.example',
      path: '/orders/*',
      methods: ['GET'],
      allow: 'signed-in',
      permission: 'orders:read',
      audience: 'orders',
    },
  ],
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    warmup: { type: 'string', default: '6' },
    write: { type: 'boolean', default: false },
  },
})
const o = { rounds: Number(values.rounds), seconds: Number(values.seconds), warmup: Number(values.warmup) }
requireLoadTools()
await using http = await launch('http', 'bare', '', { question: 'identity' })
await using idle = await launch('http', 'spin', '', { question: 'identity' })
await using fastify = await launch('fastify', 'bare', '', { question: 'identity' })
await using service = await startService()
const cpu = async (contestant: typeof http) => {
  const { user, system } = await contestant.cpu()
  return user + system
}
const bare = 'bare node:http'
const servers: readonly Server[] = [
  { name: bare, port: http.port, path: '/', cpu: () => cpu(http) },
  { name: 'the same, and 4 µs of doing nothing', port: idle.port, path: '/', cpu: () => cpu(idle) },
  { name: 'bare Fastify', port: fastify.port, path: '/', cpu: () => cpu(fastify) },
  { name: '/forward-auth', port: service.port, path: '/forward-auth', cpu: async () => cpuOf(service.pid) },
]
const questions = await prepare(service.port)
const measured = new Map<string, Measurement[]>(servers.map(({ name }) => [name, []]))
for (const server of servers) await load(server.port, sentTo(server), { seconds: o.warmup, connections })
for (let n = 1; n <= o.rounds; n++) {
  for (const server of shuffled(servers)) {
    const before = await server.cpu()
    const done = await load(server.port, sentTo(server), { seconds: o.seconds, connections })
    const measurement = {
      requestsPerSecond: round(done.requests / done.seconds, 0),
      cpuUsPerRequest: round(((await server.cpu()) - before) / done.requests, 1),
      p99Ms: round(done.p99Ms, 2),
    }
    measured.get(server.name)!.push(measurement)
    console.log(
      `round ${n}  ${server.name.padEnd(36)} ${measurement.requestsPerSecond}/s  ${measurement.cpuUsPerRequest} µs`,
    )
  }
}
const results = servers.map(({ name }) => summary(name, measured.get(name)!))
const about = { ...heading(null), options: { ...o, connections, sessions: sessionCount } }
const text = `${markdown()}\n\n${provenance(about)}; ${o.rounds} rounds.`
console.log(`\n${text}`)
save('forward-auth', { ...about, results })
if (values.write) publish('forward-auth', text)

function sentTo({ path }: Server): readonly Request[] {
  return questions.map((headers) => ({ method: 'GET', path, headers }))
}

/** A question of each session, as a proxy puts it for a browser. */
async function prepare(port: number): Promise<readonly Record<string, string>[]> {
  const authorization = `Basic ${Buffer.from(`admin:${adminSecret}`).toString('base64')}`
  const questions: Record<string, string>[] = []
  for (let n = 0; n < sessionCount; n++) {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/sessions`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ userId: person(n).userId, roles, amr }),
    })
    const { token } = (await answer.json()) as { token: string }
    questions.push({
      'X-Forwarded-Method': 'GET',
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Host': 'shop.example',
      'X-Forwarded-Uri': `/orders/${n}?page=2`,
      'X-Forwarded-For': '203.0.113.7',
      'User-Agent':
        'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
      Accept: 'application/json',
      'Accept-Encoding': 'gzip, deflate, br',
      'Accept-Language': 'en-GB,en;q=0.9',
      'Sec-Fetch-Site': 'same-origin',
      'Sec-Fetch-Mode': 'cors',
      'Sec-Fetch-Dest': 'empty',
      Cookie: `theme=dark; __Host-session=${token}`,
    })
  }
  return questions
}

async function startService() {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-forward-auth-'))
  const rulesFile = join(folder, 'rules.json')
  writeFileSync(rulesFile, JSON.stringify(rules))
  const port = await freePort()
  const main = join(import.meta.dirname, '..', 'service', 'src', 'main.ts')
  const command = [process.execPath, '--conditions=source', '--disable-warning=ExperimentalWarning', main, 'serve']
  const child = spawn('taskset', ['-c', serverCore, ...command], {
    stdio: 'ignore',
    env: {
      PATH: process.env['PATH'],
      NODE_ENV: 'production',
      HOLDFAST_PORT: String(port),
      HOLDFAST_DATA: join(folder, 'data'),
      HOLDFAST_ADMIN_SECRET: adminSecret,
      HOLDFAST_TRUSTED_PROXIES: '127.0.0.1',
      HOLDFAST_RULES: rulesFile,
    },
  })
  const gone = once(child, 'exit')
  const isReady = async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok
  while (!(await isReady().catch(() => false))) {
    if (child.exitCode !== null) throw new Error('the service did not start')
    await sleep(50)
  }
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

function summary(name: string, rounds: readonly Measurement[]) {
  const middle = (key: keyof Measurement) => median(rounds.map((measurement) => measurement[key]))
  return {
    name,
    median: {
      requestsPerSecond: middle('requestsPerSecond'),
      cpuUsPerRequest: middle('cpuUsPerRequest'),
      p99Ms: middle('p99Ms'),
    },
    rounds,
  }
}

function markdown(): string {
  const floor = results[0]!.median.requestsPerSecond
  return table(
    ['', 'requests/s', `of ${bare}`, 'CPU µs per request', 'p99 ms'],
    results.map(({ name, median }) => [
      name,
      Math.round(median.requestsPerSecond).toLocaleString('en'),
      `${Math.round((median.requestsPerSecond / floor) * 100)} %`,
      median.cpuUsPerRequest.toFixed(1),
      median.p99Ms.toFixed(2),
    ]),
  )
}
