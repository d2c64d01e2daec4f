import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StoreUnavailableError } from '../../src/errors.ts'
import { breaker } from '../../src/internal/breaker.ts'
import { fakeClock } from '../../src/testing/clock.ts'

function opened() {
  const clock = fakeClock()
  const heard: unknown[] = []
  const circuit = breaker(clock.now, (cause) => heard.push(cause))
  for (let i = 0; i < 5; i++) {
    circuit.failed(`failure ${i + 1}`, circuit.enter())
  }
  return { clock, heard, circuit }
}

test('four failures in a row change nothing, nor do more with a success between them', () => {
  const heard: unknown[] = []
  const circuit = breaker(fakeClock().now, (cause) => heard.push(cause))
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 4; i++) {
      circuit.failed('no', circuit.enter())
    }
    circuit.enter()
    circuit.succeeded()
  }
  assert.deepEqual(heard, [])
})

test('after five nobody is let through for a pause, and is told how long it lasts', () => {
  const { clock, heard, circuit } = opened()
  assert.deepEqual(heard, ['failure 5'])
  clock.advance('100ms')
  assert.throws(
    () => circuit.enter(),
    (error) => error instanceof StoreUnavailableError && error.retryAfterMs === 400,
  )
})

test('then one caller tries, and the others wait for it', () => {
  const { clock, circuit } = opened()
  clock.advance('500ms')
  const trial = circuit.enter()
  assert.throws(() => circuit.enter(), StoreUnavailableError)
  circuit.failed('still not', trial)
  clock.advance('499ms')
  assert.throws(() => circuit.enter(), StoreUnavailableError)
  clock.advance('1ms')
  circuit.enter()
})

test('a trial that succeeds lets everyone through, and says so once', () => {
  const { clock, heard, circuit } = opened()
  clock.advance('500ms')
  circuit.enter()
  circuit.succeeded()
  for (let i = 0; i < 3; i++) circuit.enter()
  circuit.succeeded()
  assert.deepEqual(heard, ['failure 5', null])
})

test('a trial that never answers does not keep the circuit open for ever', () => {
  const { clock, circuit } = opened()
  clock.advance('500ms')
  circuit.enter()
  clock.advance('500ms')
  circuit.enter()
})

test('a clock that is set back does not keep the circuit open for longer than a pause', () => {
  let now = Date.UTC(2026, 0, 1)
  const circuit = breaker(
    () => now,
    () => {},
  )
  for (let i = 0; i < 5; i++) circuit.failed('no', circuit.enter())
  now -= 3_600_000
  circuit.enter()
})

test('calls that fail together because their connection broke are one failure', () => {
  const heard: unknown[] = []
  const circuit = breaker(fakeClock().now, (cause) => heard.push(cause))
  const underWay = Array.from({ length: 50 }, () => circuit.enter())
  for (const entered of underWay) circuit.failed('connection lost', entered)
  circuit.enter()
  assert.deepEqual(heard, [])
})

test('calls that were not answered count each', () => {
  const { clock } = opened()
  const heard: unknown[] = []
  const circuit = breaker(clock.now, (cause) => heard.push(cause))
  const underWay = Array.from({ length: 5 }, () => circuit.enter())
  for (const _ of underWay) circuit.failed('no answer', null)
  assert.deepEqual(heard, ['no answer'])
})
