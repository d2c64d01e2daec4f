import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError } from '../../src/errors.ts'
import { milliseconds, type Duration } from '../../src/internal/duration.ts'

test('durations are a number and a unit', () => {
  assert.equal(milliseconds('idle', '500ms'), 500)
  assert.equal(milliseconds('idle', '30s'), 30_000)
  assert.equal(milliseconds('idle', '15m'), 900_000)
  assert.equal(milliseconds('idle', '1.5h'), 5_400_000)
  assert.equal(milliseconds('idle', '30d'), 2_592_000_000)
})

test('anything else is refused with the name of the option', () => {
  for (const bad of [
    '',
    '30',
    'm',
    '30 m',
    '-1s',
    '0s',
    '0.5ms',
    '1e3s',
    '30M',
    '30min',
    ' 30s',
    '30s\n',
    'NaNs',
    'Infinityd',
    '99999999999999d',
    30,
    null,
    undefined,
  ]) {
    assert.throws(
      () => milliseconds('lifetime.idle', bad as Duration),
      (error) => error instanceof ConfigError && error.message.includes('lifetime.idle'),
      String(bad),
    )
  }
})
