import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { elapsedClock } from '../../src/internal/elapsed.ts'

function clocks() {
  const at = { monotonic: 5_000, wall: Date.UTC(2026, 0, 1) }
  const elapsed = elapsedClock({ monotonic: () => at.monotonic, wall: () => at.wall })
  const pass = (monotonic: number, wall = monotonic) => {
    at.monotonic += monotonic
    at.wall += wall
  }
  return { elapsed, pass }
}

test('a machine that was suspended counts the time it slept', () => {
  const { elapsed, pass } = clocks()
  const before = elapsed()
  pass(10, 3_600_000)
  assert.equal(elapsed() - before, 3_600_000)
  pass(1_000)
  assert.equal(elapsed() - before, 3_601_000)
})

test('a wall clock that is set back changes nothing, and sleeping after it still counts', () => {
  const { elapsed, pass } = clocks()
  const before = elapsed()
  pass(100, -120_000)
  assert.equal(elapsed() - before, 100)
  pass(0, 60_000)
  assert.equal(elapsed() - before, 60_100)
})

test('it never goes back, never lags behind the monotonic clock, and jitter does not add up', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ monotonic: fc.nat(5_000), wall: fc.integer({ min: -9_000, max: 9_000 }) })),
      (steps) => {
        const { elapsed, pass } = clocks()
        const start = elapsed()
        let last = start
        let monotonic = 0
        for (const step of steps) {
          pass(step.monotonic, step.wall)
          monotonic += step.monotonic
          const now = elapsed()
          assert.ok(now >= last && now - start >= monotonic)
          last = now
        }
      },
    ),
  )
  const { elapsed, pass } = clocks()
  const start = elapsed()
  for (let i = 0; i < 10_000; i++) {
    pass(0.4, i % 5 === 0 ? 2 : 0)
    elapsed()
  }
  assert.ok(elapsed() - start < 4_030)
})
