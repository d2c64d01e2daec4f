// `npm run check:rolling`: restarts and kills instances under load, for long, and says what users saw.
// Options: --minutes 3 --seed 1 --users 24 --system application|hash|service (default: each)
import { parseArgs } from 'node:util'
import { shownRolling } from './rolling-checker.ts'
import { application, service } from './rolling-systems.ts'
import { rollingTrial, steps } from './rolling-trial.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
    users: { type: 'string', default: '24' },
    system: { type: 'string' },
  },
})
const [kill, restart] = steps
const systems = {
  application: { start: () => application('cookie'), steps },
  // nginx learns of a restart by being refused, so only what is killed has its excuse.
  hash: { start: () => application('hash'), steps: [kill] },
  service: { start: service, steps: [kill, restart] },
} as const
const wanted = Object.entries(systems).filter(([name]) => values.system === undefined || values.system === name)
if (wanted.length === 0) throw new Error(`--system: expected one of ${Object.keys(systems).join(', ')}`)

// So that what was started is ended too.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

for (const [name, { start, steps }] of wanted) {
  console.log(`── ${name}, seed ${values.seed}`)
  const system = await start()
  try {
    const [users, seed] = [Number(values.users), Number(values.seed)]
    const seconds = (Number(values.minutes) * 60) / wanted.length
    const report = await rollingTrial({ system, steps, seconds, users, seed, say: console.log })
    console.log(shownRolling(report))
    if (report.violations.length + report.voids.length > 0) process.exitCode = 1
  } finally {
    await system.stop()
  }
}
