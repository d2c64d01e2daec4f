// `npm run check:faults`: breaks the system in turn, for long, and says what was found.
// Options: --minutes 10 --seed 1 --redis redis|sentinel|both --only <name of a fault> --bug <name of a bug> --keep <folder>
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bugs } from './bugs.ts'
import { shown } from './shown.ts'
import { trial } from './trial.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    redis: { type: 'string', default: 'both' },
    only: { type: 'string', multiple: true },
    bug: { type: 'string' },
    keep: { type: 'string' },
  },
})
const kinds = (['redis', 'sentinel'] as const).filter((kind) => values.redis === 'both' || values.redis === kind)
const bug = bugs.find((name) => name === values.bug)
if (kinds.length === 0) throw new Error('--redis: expected redis, sentinel or both')
if (bug === undefined && values.bug !== undefined) throw new Error(`--bug: expected one of ${bugs.join(', ')}`)

// So that what was started is ended too.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

for (const redis of kinds) {
  console.log(`── ${redis}, seed ${values.seed}`)
  const report = await trial({
    redis,
    direct: 3,
    services: 3,
    connected: 3,
    seed: Number(values.seed),
    seconds: (Number(values.minutes) * 60) / kinds.length,
    rhythm: { holdMs: 2_000, recoverMs: 3_000, calmMs: 1_500 },
    leastEndings: 5,
    say: console.log,
    only: values.only,
    bug,
    keepIn: values.keep === undefined ? undefined : join(values.keep, redis),
  })
  console.log(shown(report))
  if (report.violations.length > 0 || report.voids.length > 0) process.exitCode = 1
}
