import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ConfigError } from '../src/errors.ts'
import { policy, type Lifetime } from '../src/policy.ts'
import { record } from './fixtures.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
const startedAt = Date.UTC(2026, 0, 1)
const no = () => false
const yes = () => true

/** A session as the policy would write it, used last at `seenAt`. */
function used(rules: ReturnType<typeof policy>, seenAt: number, remembered = false) {
  return record({ createdAt: startedAt, seenAt, expiresAt: rules.expiresAt(startedAt, seenAt, remembered) })
}

test('a session ends exactly at its idle end: alive one millisecond before, not at it', () => {
  const rules = policy({ idle: '30m', absolute: '12h' })
  const session = used(rules, startedAt)
  assert.equal(session.expiresAt, startedAt + 30 * minute)
  assert.equal(rules.live(session, startedAt + 30 * minute - 1, no), true)
  assert.equal(rules.live(session, startedAt + 30 * minute, no), false)
})

test('a session used without a break ends exactly at its absolute end', () => {
  const rules = policy({ idle: '30m', absolute: '12h' })
  const session = used(rules, startedAt + 12 * hour - minute)
  assert.equal(session.expiresAt, startedAt + 12 * hour)
  assert.equal(rules.live(session, startedAt + 12 * hour - 1, no), true)
  assert.equal(rules.live(session, startedAt + 12 * hour, no), false)
})

test('no use extends a session past its absolute end', () => {
  const durations = fc.tuple(fc.integer({ min: 1, max: 10_000 }), fc.integer({ min: 0, max: 100_000 }))
  fc.assert(
    fc.property(durations, fc.nat(200_000), ([idle, more], usedAfter) => {
      const rules = policy({ idle: `${idle}ms`, absolute: `${idle + more}ms` })
      const end = rules.expiresAt(startedAt, startedAt + usedAfter, false)
      assert.equal(end, Math.min(startedAt + usedAfter + idle, startedAt + idle + more))
      assert.ok(end <= rules.endsAt(startedAt, false))
    }),
  )
})

test('the presets are those of NIST SP 800-63B-4', () => {
  const figures: readonly [Lifetime, number, number][] = [
    ['aal1', 30 * day, 30 * day],
    ['aal2', hour, day],
    ['aal3', 15 * minute, 12 * hour],
  ]
  for (const [preset, idle, absolute] of figures) {
    const rules = policy(preset)
    assert.equal(rules.expiresAt(startedAt, startedAt, false), startedAt + idle, String(preset))
    assert.equal(rules.endsAt(startedAt, false), startedAt + absolute, String(preset))
    assert.equal(rules.remembers, false)
  }
})

test('a tenth of the idle time passes before a session is touched again', () => {
  const rules = policy({ idle: '30m', absolute: '12h' })
  const session = used(rules, startedAt)
  assert.equal(rules.touchDue(session, startedAt, no), false)
  assert.equal(rules.touchDue(session, startedAt + 3 * minute - 1, no), false)
  assert.equal(rules.touchDue(session, startedAt + 3 * minute, no), true)
})

test('remembered sessions live by their own limits, the others by theirs', () => {
  const rules = policy({ idle: '30m', absolute: '12h', remember: { idle: '14d', absolute: '90d' } })
  assert.equal(rules.remembers, true)
  assert.equal(rules.endsAt(startedAt, true), startedAt + 90 * day)
  assert.equal(rules.endsAt(startedAt, false), startedAt + 12 * hour)
  const session = used(rules, startedAt, true)
  assert.equal(rules.live(session, startedAt + 14 * day - 1, yes), true)
  assert.equal(rules.live(session, startedAt + 14 * day, yes), false)
  assert.equal(rules.live({ ...session, expiresAt: startedAt + 90 * day }, startedAt + 30 * minute, no), false)
  assert.equal(rules.touchDue(session, startedAt + 1.4 * day - 1, yes), false)
  assert.equal(rules.touchDue(session, startedAt + 1.4 * day, yes), true)
})

test('limits that are tightened hold for the sessions that exist', () => {
  const session = used(policy({ idle: '12h', absolute: '30d' }), startedAt)
  const tight = policy({ idle: '30m', absolute: '1h' })
  assert.equal(tight.live(session, startedAt + 30 * minute - 1, no), true)
  assert.equal(tight.live(session, startedAt + 30 * minute, no), false)
  const busy = { ...session, seenAt: startedAt + hour - 1 }
  assert.equal(tight.live(busy, startedAt + hour - 1, no), true)
  assert.equal(tight.live(busy, startedAt + hour, no), false)
})

test('limits that are widened revive nothing', () => {
  const session = used(policy({ idle: '30m', absolute: '1h' }), startedAt)
  assert.equal(policy({ idle: '12h', absolute: '30d' }).live(session, startedAt + 30 * minute, no), false)
})

test('taking `remember` out of the configuration takes the longer life from those who had it', () => {
  const session = used(
    policy({ idle: '30m', absolute: '12h', remember: { idle: '14d', absolute: '90d' } }),
    startedAt,
    true,
  )
  assert.equal(policy({ idle: '30m', absolute: '12h' }).live(session, startedAt + 30 * minute, yes), false)
})

test('identity is decoded only when the shorter limits do not settle it', () => {
  const rules = policy({ idle: '30m', absolute: '12h', remember: { idle: '14d', absolute: '90d' } })
  const never = () => assert.fail('was decoded')
  assert.equal(rules.live(used(rules, startedAt, true), startedAt + minute, never), true)
  assert.equal(rules.touchDue(used(rules, startedAt, true), startedAt + minute, never), false)
})

test('limits that make no sense are refused, naming the option', () => {
  const refused: readonly [Lifetime, RegExp][] = [
    [{ idle: '2h', absolute: '1h' }, /lifetime: idle \(2h\) is longer than absolute \(1h\)/],
    [{ idle: '0m', absolute: '1h' }, /lifetime\.idle/],
    [{ idle: '1h', absolute: '-1h' }, /lifetime\.absolute/],
    [{ idle: '1h', absolute: '401d' }, /400d/],
    [{ idle: '1h', absolute: '1d', remember: { idle: '1d', absolute: '401d' } }, /lifetime\.remember\.absolute/],
    ['aal4' as 'aal1', /aal4/],
    [{ idle: '1h' } as never, /lifetime\.absolute/],
    [{ idle: 1800, absolute: 43_200 } as never, /lifetime\.idle/],
  ]
  for (const [lifetime, message] of refused) {
    assert.throws(
      () => policy(lifetime),
      (error) => error instanceof ConfigError && message.test(error.message),
      JSON.stringify(lifetime),
    )
  }
})
