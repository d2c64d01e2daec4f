// `npm run bench:failover`: what the failover of an engine costs, and what it loses, through `createSessions`, on hosts in network
// namespaces of this machine. Needs root on Linux. Options: --runs 10 --only redis-sentinel,nats --faults kill,cut --write; what
// is left out keeps its former results, with --runs 0 all.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { faults, type Engine, type Fault } from './failover/engine.ts'
import { enterOwnNetwork } from './failover/network.ts'
import { markdown, summaries, type Results } from './failover/report.ts'
import { trial, type Trial } from './failover/trial.ts'
import { heading, provenance, publish, save } from './harness/report.ts'

enterOwnNetwork()

const engines: Readonly<Record<string, () => Promise<Engine>>> = {
  'redis-sentinel': async () => (await import('./failover/redis.ts')).redisSentinel(),
  'redis-cluster': async () => (await import('./failover/redis.ts')).redisCluster(),
  postgres: async () => (await import('./failover/postgres.ts')).postgres(),
  nats: async () => (await import('./failover/nats.ts')).nats(),
}

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10' },
    only: { type: 'string', default: Object.keys(engines).join() },
    faults: { type: 'string', default: faults.join() },
    write: { type: 'boolean', default: false },
  },
})

for (const name of values.only.split(',')) {
  const start = engines[name]
  if (start === undefined) throw new Error(`--only: one of ${Object.keys(engines).join(', ')}, not ${name}`)
  if (Number(values.runs) === 0) continue
  for (const fault of values.faults.split(',') as Fault[]) await measure(name, start, fault)
}
const { results, ...about } = read()
const text = `${markdown(results)}\n\n${provenance(about)}.`
console.log(text)
if (values.write) publish('failover', text)
process.exit()

async function measure(name: string, start: () => Promise<Engine>, fault: Fault): Promise<void> {
  const trials: Trial[] = []
  let engine = await start()
  for (let run = 1; run <= Number(values.runs); run++) {
    for (const settings of engine.apart ? engine.settings.map((one) => [one]) : [engine.settings]) {
      const one = await trial(engine, fault, settings).catch((error: unknown) => {
        console.error(`✖ ${name} ${fault} ${run}, ${settings.join('; ')}: ${String(error)}`)
        return null
      })
      if (one === null) {
        // Who knows what is left of it.
        await engine.stop()
        engine = await start()
        process.exitCode = 1
        continue
      }
      trials.push(one)
      const seconds = Object.values(one.settings).map(({ writesMs }) => ((writesMs ?? 0) / 1_000).toFixed(1))
      console.log(`${name} ${fault} ${run}: writes after ${seconds.join(', ')} s`)
    }
  }
  await engine.stop()
  if (trials.length === 0) return
  const { results, ...about } = read()
  const measured = summaries(trials)
  const mine = { version: engine.version, faults: { ...results[name]?.faults, [fault]: measured } }
  save('failover', { ...about, ...heading(null), results: { ...results, [name]: mine } })
  for (const [setting, { wrongs, hung, anonymousFailed }] of Object.entries(measured)) {
    if (wrongs.length + hung + anonymousFailed === 0) continue
    console.error(`✖ ${name} ${fault}, ${setting}: ${hung} hung, ${anonymousFailed} not served, ${wrongs.join('; ')}`)
    process.exitCode = 1
  }
}

/** The results so far. */
function read(): ReturnType<typeof heading> & { readonly results: Results } {
  try {
    return JSON.parse(readFileSync(join(import.meta.dirname, 'results/failover.json'), 'utf8')) as ReturnType<
      typeof read
    >
  } catch {
    return { ...heading(null), results: {} }
  }
}
