// `npm run bench:failover`: what the failover of an engine costs, and what it loses, through `createSessions`, on hosts in network
// namespaces of this machine. Options: --runs 10 --only redis-sentinel,nats --faults kill,cut --write. Needs root on Linux.
import { parseArgs } from 'node:util'
import { faults, type Engine, type Fault } from './failover/engine.ts'
import { enterOwnNetwork } from './failover/network.ts'
import { trial } from './failover/trial.ts'

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
  const engine = await engines[name]!()
  try {
    for (const fault of values.faults.split(',') as Fault[]) {
      for (let run = 1; run <= Number(values.runs); run++) {
        const { settings, stallMs } = await trial(engine, fault, engine.settings)
        console.log(name, fault, run, `stall ${stallMs.toFixed(0)}`)
        for (const [setting, outcome] of Object.entries(settings)) console.log('  ', setting, JSON.stringify(outcome))
      }
    }
  } finally {
    await engine.stop()
  }
}
process.exit()
