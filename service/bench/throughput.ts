// Requests per second of the service on one core with Redis, and its CPU per request: `node --conditions=source` this file.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSessions } from 'holdfast'
import { redisStore } from 'holdfast/stores/redis'
import { createClient } from 'redis'
import { freePort, startRedis } from '../../scripts/servers.ts'

const seconds = 5
const rounds = Number(process.argv[2] ?? 3)
const clockTicks = 100

const folder = mkdtempSync(join(tmpdir(), 'holdfast-throughput-'))
const redis = await startRedis()
const port = await freePort()
const secret = 'x'.repeat(43)
const service = spawn(
  'taskset',
  ['-c', '0', process.execPath, '--conditions=source', join(import.meta.dirname, '../src/main.ts'), 'serve'],
  {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOLDFAST_PORT: String(port),
      HOLDFAST_STORE: redis.url,
      HOLDFAST_ADMIN_SECRET: secret,
      HOLDFAST_DATA: folder,
    },
    stdio: ['ignore', openSync(join(folder, 'log'), 'w'), 'pipe'],
  },
)
await once(service.stderr!, 'data')

// Where they run decides nothing but who disturbs whom: Redis and the load share the other core.
spawnSync('taskset', ['-cp', '1', String(redis.pid)])
const client = createClient({ url: redis.url })
await client.connect()
const sessions = createSessions({ store: redisStore(client) })

const results: { call: string; perSecond: number; cpu: number; refused: number }[] = []
for (let round = 0; round < rounds; round++) {
  results.push(measure('verify', await started(1_000, ({ token }) => token)))
  results.push(measure('start', ['-']))
  results.push(measure('end', await started(110_000, ({ id }) => id)))
}
for (const call of ['verify', 'start', 'end']) {
  const own = results.filter((result) => result.call === call)
  const median = (of: (result: (typeof own)[number]) => number) =>
    own.map(of).toSorted((a, b) => a - b)[own.length >> 1]!
  const [perSecond, cpu, refused] = [median((r) => r.perSecond), median((r) => r.cpu), median((r) => r.refused)]
  console.log(
    `${call.padEnd(7)} ${perSecond.toFixed(0).padStart(6)}/s  ${cpu.toFixed(1)} µs CPU per request, ${refused} not 2xx`,
  )
}

client.destroy()
service.kill('SIGTERM')
await once(service, 'exit')
await redis.stop()
rmSync(folder, { recursive: true })

async function started<T>(count: number, of: (session: { id: string; token: string }) => T): Promise<T[]> {
  const all: T[] = []
  while (all.length < count) {
    const batch = Array.from({ length: 250 }, (_, i) =>
      sessions.start(`user-${all.length + i}`, { roles: ['shopper'] }),
    )
    all.push(...(await Promise.all(batch)).map(({ session, token }) => of({ id: session.id!, token })))
  }
  return all
}

function measure(call: string, lines: readonly string[]): (typeof results)[number] {
  const file = join(folder, 'lines')
  writeFileSync(file, `${lines.join('\n')}\n`)
  const before = cpuMs()
  const authorization = `Basic ${Buffer.from(`admin:${secret}`).toString('base64')}`
  const script = join(import.meta.dirname, 'calls.lua')
  const args = [
    '-t1',
    '-c32',
    `-d${seconds}s`,
    '-s',
    script,
    `http://127.0.0.1:${port}`,
    '--',
    call,
    authorization,
    file,
  ]
  const { stdout } = spawnSync('taskset', ['-c', '1', 'wrk', ...args], { encoding: 'utf8' })
  const used = cpuMs() - before
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1])
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0)
  return {
    call,
    perSecond: Number(/Requests\/sec: +([\d.]+)/.exec(stdout)?.[1]),
    cpu: (used * 1000) / requests,
    refused,
  }
}

/** User and system time of the service so far. */
function cpuMs(): number {
  const fields = readFileSync(`/proc/${service.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / clockTicks
}
