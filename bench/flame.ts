// Which functions of a contender take its time: `node --conditions=source bench/flame.ts holdfast-http redis [seconds] [question]`.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { requireLoadTools } from './harness/machine.ts'
import type { Question } from './harness/person.ts'
import { launch } from './harness/processes.ts'
import { benchRedis } from './harness/redis.ts'
import { table } from './harness/report.ts'
import { startSessions } from './harness/start.ts'
import { load, type Request } from './harness/wrk.ts'

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const [module = 'holdfast-http', variant = 'redis', seconds = '4', question = 'data'] = process.argv.slice(2)
requireLoadTools()
const redis = await benchRedis()
const folder = mkdtempSync(join(tmpdir(), 'holdfast-flame-'))
try {
  const requests = await run()
  const profile = JSON.parse(readFileSync(join(folder, readdirSync(folder)[0]!), 'utf8')) as Profile
  print(profile, requests)
} finally {
  rmSync(folder, { recursive: true })
  await redis.stop()
}

async function run(): Promise<number> {
  const nodeOptions = ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${folder}`]
  await using server = await launch(module, variant, redis.url, { question: question as Question, nodeOptions })
  const sessions = await startSessions(server.port)
  const requests = sessions.map((headers): Request => ({ method: 'GET', path: '/', headers }))
  return (await load(server.port, requests, { seconds: Number(seconds) })).requests
}

/** Self time per request, by function and by file; what the profile saw before and after the load is in it too. */
function print({ nodes, samples, timeDeltas }: Profile, requests: number): void {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const byFunction = new Map<string, number>()
  const byFile = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const { functionName, url, lineNumber } = frames.get(id)!
    const file = shortened(url)
    add(byFile, file, timeDeltas[i]!)
    add(byFunction, `${functionName || '(anonymous)'} ${file}:${lineNumber + 1}`, timeDeltas[i]!)
  }
  for (const [title, times] of [
    ['file', byFile],
    ['function', byFunction],
  ] as const) {
    const rows = [...times].toSorted(([, a], [, b]) => b - a).slice(0, 45)
    console.log(
      `\n${table(
        [title, 'µs per request'],
        rows.map(([name, us]) => [name, (us / requests).toFixed(2)]),
      )}`,
    )
  }
}

function add(times: Map<string, number>, key: string, us: number): void {
  times.set(key, (times.get(key) ?? 0) + us)
}

function shortened(url: string): string {
  return url.replace(/^file:.*\/(node_modules|library|bench|service)\//, '$1/')
}
