// The checker in short: nothing is found in the system as it is, and every bug planted on purpose is.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bugs, type Bug } from './bugs.ts'
import type { Report, Rule } from './checker.ts'
import { shown } from './shown.ts'
import { trial } from './trial.ts'

const least = { seed: 1, rhythm: { holdMs: 1_000, recoverMs: 1_500, calmMs: 400 }, leastEndings: 3 }

/** Most of a run is waiting. */
const concurrency = 2

describe('under faults', { concurrency }, () => {
  function held(report: Report): void {
    assert.ok(report.violations.length === 0 && report.voids.length === 0, shown(report))
  }

  test('of three services and processes on one Redis, everything holds', async () => {
    const only = ['pause verifier', 'kill redis', 'slow answers of redis', 'kill service']
    held(await trial({ ...least, redis: 'redis', direct: 2, services: 3, connected: 2, seconds: 0, only }))
  })

  test('everything holds when Sentinel makes another server the master', async () => {
    const only = ['kill sentinel']
    held(await trial({ ...least, redis: 'sentinel', direct: 3, services: 0, connected: 0, seconds: 0, only }))
  })

  const breaks: Readonly<Record<Bug, Rule>> = {
    'skipped publish': 'accepted past the bound',
    'delete before publish': 'accepted past the bound',
    'asOf at the end of the read': 'accepted past the bound',
    'refresh not atomic': 'two successors',
    'cache fill races a delete': 'accepted past the bound',
  }
  for (const bug of bugs) {
    test(`the checker finds: ${bug}`, async () => {
      const until = breaks[bug]
      // Reads take long only where answers do.
      const only = [bug === 'asOf at the end of the read' ? 'slow answers of redis' : 'duplicates and reorder']
      const rhythm = { holdMs: 1_500, recoverMs: 200, calmMs: 200 }
      const small = { redis: 'redis', direct: 3, services: 0, connected: 0, seconds: 120 } as const
      const report = await trial({ ...least, ...small, rhythm, bug, only, until })
      assert.ok(
        report.violations.some(({ rule }) => rule === until),
        shown(report),
      )
    })
  }
})
