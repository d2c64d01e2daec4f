// The checker itself, on histories made by hand: each rule is broken once, and what is allowed is let through.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { check, type Rule } from './checker.ts'
import type { Ended, Entry, Fault, Opened, Refreshed, RolesSet, Started } from './history.ts'

const rules = { boundMs: 1_000, refreshWindowMs: 10_000, leastEndings: 1 }
const at = (began: number, ended = began + 10) => ({ node: 'a#1', began, ended })

const started: Started = { kind: 'start', ...at(0), id: 's', userId: 'ada', roles: ['clerk'], isSigned: true }
const open = (began: number, o: Partial<Opened> = {}): Opened => ({
  kind: 'open',
  ...at(began),
  id: 's',
  outcome: 'accepted',
  userId: 'ada',
  roles: ['clerk'],
  issuedAt: 0,
  ...o,
})
const refused = (began: number, reason: string, o: Partial<Opened> = {}) =>
  open(began, { outcome: `refused: ${reason}`, userId: null, roles: [], ...o })
const end = (began: number, done = true): Ended => ({ kind: 'end', by: 'end', ...at(began), ids: ['s'], done })
const roles = (began: number, ...names: string[]): RolesSet => ({
  kind: 'roles',
  ...at(began),
  ids: ['s'],
  roles: names,
  done: true,
})
const refresh = (began: number, generation: number, o: Partial<Refreshed> = {}): Refreshed => ({
  kind: 'refresh',
  ...at(began),
  id: 's',
  generation,
  stolen: false,
  outcome: 'given',
  successor: `${generation + 1}`,
  ...o,
})
const reused = { outcome: 'refused: refresh-reused', successor: null } as const
const fault = (began: number, ended: number, o: Partial<Fault> = {}): Fault => ({
  kind: 'fault',
  name: 'kill',
  target: 'a',
  loses: false,
  began,
  ended,
  recoveredAt: ended + 500,
  ...o,
})
/** Enough outside of faults for the run to count. */
const calm = Array.from({ length: 5 }, (_, i) => open(20 + i))

function brokenIn(...entries: Entry[]): Rule[] {
  const history = [started, ...calm, ...entries].toSorted((a, b) => a.began - b.began)
  return [...new Set(check(history, rules).violations.map(({ rule }) => rule))]
}

const broken: readonly (readonly [Rule, ...Entry[]])[] = [
  ['accepted past the bound', end(100), open(1_111)],
  ['accepted after it was refused', end(100), refused(120, 'ended'), open(140)],
  ["somebody else's session", open(100, { userId: 'bob' })],
  ['roles that were taken away', roles(100, 'guest'), open(1_111)],
  ['roles that were taken away', open(100, { roles: ['auditor'] })],
  ['two successors', refresh(100, 1), refresh(101, 1, { successor: 'other' })],
  ['signed out by an own retry', refresh(100, 1), refresh(200, 1, reused)],
  ['stolen token not found', refresh(100, 1), refresh(200, 2), refresh(300, 1, { stolen: true })],
  ['honest request refused', refused(100, 'unknown')],
  ['honest request refused', fault(90, 200), refused(100, 'unknown')],
  ['honest request failed', open(100, { outcome: 'failed' })],
  ['honest request failed', fault(200, 300), open(100, { outcome: 'failed' })],
  ['honest request failed', end(100, false)],
]

const allowed: readonly (readonly [what: string, ...Entry[]])[] = [
  ['an accept inside the bound', end(100), open(1_100), refused(1_200, 'ended')],
  ['an accept at another process after a refusal', end(100), refused(120, 'ended'), open(140, { node: 'b#1' })],
  ['new roles at once, old ones inside the bound', roles(100, 'guest'), open(105, { roles: ['guest'] }), open(1_100)],
  ['a stale token after a change of roles', roles(100, 'guest'), refused(200, 'stale')],
  ['the same successor twice', refresh(100, 1), refresh(101, 1), refresh(5_000, 1)],
  ['a retry that comes after the window', refresh(100, 1), refresh(10_200, 1, reused)],
  ['a theft that is found', refresh(100, 1), refresh(200, 2), refresh(300, 1, { stolen: true, ...reused })],
  ['a failure inside a fault', fault(90, 200), open(100, { outcome: 'failed' })],
  ['a failure while the machine stalls', { kind: 'stall', ...at(90) }, open(100, { outcome: 'failed' })],
  ['a session lost in a failover', fault(100, 200, { loses: true }), refused(150, 'unknown')],
]

describe('what must not be', () => {
  for (const [rule, ...entries] of broken) {
    test(`${rule}: ${entries.map(({ kind }) => kind).join(', ')}`, () => assert.deepEqual(brokenIn(...entries), [rule]))
  }
})

describe('what may be', () => {
  for (const [what, ...entries] of allowed) test(what, () => assert.deepEqual(brokenIn(...entries), []))
})

test('a failover excuses no accept of what was ended', () => {
  assert.deepEqual(brokenIn(fault(100, 200, { loses: true }), end(100), open(1_111)), ['accepted past the bound'])
})

test('a fault in which nothing was ended, or nobody tried what was, makes the run void', () => {
  const voids = (...entries: Entry[]) => check([started, ...calm, ...entries], rules).voids.length
  assert.equal(voids(fault(100, 200)), 1)
  assert.equal(voids(fault(100, 200), end(150)), 1)
  assert.equal(voids(fault(100, 200), end(150), refused(300, 'ended')), 1)
  assert.equal(voids(fault(100, 200), end(150), refused(1_200, 'ended')), 0)
})

test('a run with nothing outside of faults is void; one on a machine that stalls proves what it proves', () => {
  const history: readonly Entry[] = [started, end(150), refused(1_200, 'ended')]
  assert.equal(check([...history, fault(0, 2_000)], rules).voids.length, 1)
  assert.equal(check([...history, { kind: 'stall', ...at(0, 2_000) }], rules).voids.length, 0)
})
