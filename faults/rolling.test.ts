// Rolling restarts in short: nobody loses anything when instances are restarted or killed, and the checker would tell.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkRolling, shownRolling, type RollingRule } from './rolling-checker.ts'
import type { Probed, RollingEntry, Strike, Used } from './rolling-history.ts'
import { application, service, type System } from './rolling-systems.ts'
import { boundMs, rollingTrial, type Step } from './rolling-trial.ts'

/** Most of a run is waiting. */
const concurrency = 3

describe('behind a balancer', { concurrency }, () => {
  async function holds(start: () => Promise<System>, ...steps: readonly Step[]): Promise<void> {
    const system = await start()
    try {
      const report = await rollingTrial({ system, steps, seconds: 0, users: 12, seed: 1 })
      assert.ok(report.violations.length === 0 && report.voids.length === 0, shownRolling(report))
    } finally {
      await system.stop()
    }
  }

  test('nobody on sticky instances loses anything, whether an instance or a server of NATS dies, or all are restarted', () =>
    holds(() => application('cookie'), 'kill an instance', 'rolling restart', 'kill the leader of NATS'))

  test('nor where a hash decides who goes where', () => holds(() => application('hash'), 'kill an instance'))

  test('nor at replicas of the service', () => holds(service, 'kill an instance', 'rolling restart'))
})

const rules = { boundMs, lagMs: 1_000 }
const seen = { userId: 'ada', cart: [] as readonly string[], by: 'a' }

function used(began: number, what: Used['what'], o: Partial<Used> = {}): Used {
  return { kind: 'used', user: 'ada', what, item: null, to: 'a', seen, began, ended: began + 10, ...o }
}
const add = (began: number, ...cart: readonly string[]) =>
  used(began, 'add', { item: cart.at(-1)!, seen: { ...seen, cart } })
const look = (began: number, ...cart: readonly string[]) => used(began, 'look', { seen: { ...seen, cart } })
const failed = (began: number, o: Partial<Used> = {}) => used(began, 'look', { ...o, seen: null })
const probed = (began: number, accepted: boolean): Probed => ({
  kind: 'probed',
  user: 'ada',
  by: 'b',
  accepted,
  began,
  ended: began + 10,
})
function strike(excuses: Strike['excuses'], o: Partial<Strike> = {}): Strike {
  const times = { began: 1000, ended: 1100, recoveredAt: 1100 }
  return { kind: 'fault', name: 'strike', target: 'a', loses: false, excuses, ...times, ...o }
}

const away = strike('under way', { ended: 2500 })

const cases: readonly (readonly [what: string, history: readonly RollingEntry[], found: RollingRule | null])[] = [
  ['a cart that is kept', [add(0, 'ada:1'), look(2000, 'ada:1')], null],
  ['a cart that lost what was acknowledged', [add(0, 'ada:1'), look(2000)], 'acknowledged change lost'],
  ['a copy that is behind by less than its age', [add(0, 'ada:1'), look(900)], null],
  ['a change that was made to a copy', [add(0, 'ada:1'), add(100, 'ada:2')], 'acknowledged change lost'],
  ['a change that was answered and not made', [used(0, 'add', { item: 'ada:1' })], 'acknowledged change lost'],
  ['a change that was made twice', [look(0, 'ada:1', 'ada:1')], 'change made twice'],
  ["somebody else's cart", [look(0, 'bob:1')], 'somebody else'],
  ["somebody else's name", [used(0, 'look', { seen: { ...seen, userId: 'bob' } })], 'somebody else'],
  ['a user who was signed out', [used(0, 'look', { seen: { ...seen, userId: null } })], 'signed out'],
  ['a user who signed out', [used(0, 'end'), used(20, 'look', { seen: { ...seen, userId: null } })], null],
  ['a request that failed', [failed(0)], 'request failed'],
  ['one that was under way to what was killed', [strike('under way'), failed(995)], null],
  ['one that was under way elsewhere', [strike('under way'), failed(995, { to: 'b' })], 'request failed'],
  ['one that began when it was gone', [strike('under way'), failed(1101)], 'request failed'],
  ['one that was answered elsewhere', [away, used(1200, 'look', { to: 'b', seen: { ...seen, by: 'b' } })], null],
  ['one that had to wait', [away, look(1200)], 'waited for who was gone'],
  ['one that failed by a restart', [strike('nobody'), failed(995)], 'request failed'],
  ['one that failed while the store had no leader', [strike('anybody'), failed(1050, { to: 'b' })], null],
  ['a session that was accepted within the bound', [used(0, 'end'), probed(900, true)], null],
  ['a session that was accepted past it', [used(0, 'end'), probed(1011, true)], 'accepted past the bound'],
]
for (const [what, history, found] of cases) {
  test(`the checker of rolling restarts, on ${what}: ${found ?? 'all is well'}`, () => {
    const { violations } = checkRolling(history, rules)
    assert.deepEqual([...new Set(violations.map(({ rule }) => rule))], found === null ? [] : [found])
  })
}

test('a run without an ending, or with nobody on what was killed, proves nothing', () => {
  assert.equal(checkRolling([strike('under way'), look(-5000)], rules).voids.length, 2)
  assert.deepEqual(
    checkRolling([strike('under way'), look(900), used(980, 'end'), probed(2000, false)], rules).voids,
    [],
  )
})
