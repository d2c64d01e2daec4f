// The timeouts of the service's connections are those that the documents recommend, and those with which failovers are measured.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { connectTimeoutMs, pingEveryMs, postgresConnectTimeoutMs, silenceMs } from '../src/engines/timeouts.ts'

const redis = [`connectTimeout: ${connectTimeoutMs}, socketTimeout: ${silenceMs}`, `pingInterval: ${pingEveryMs}`]
const postgres = [`connectionTimeoutMillis: ${postgresConnectTimeoutMs}`]
const nats = [`timeout: ${connectTimeoutMs}, pingInterval: ${pingEveryMs}`]

const said: Readonly<Record<string, readonly string[]>> = {
  'bench/failover/nats.ts': nats,
  'bench/failover/postgres.ts': postgres,
  'bench/failover/redis.ts': redis,
  'docs/failover.md': [...redis, ...postgres, ...nats],
  'docs/feeds.md': [...postgres, ...nats],
  'docs/guide/sticky.md': nats,
  'docs/stores.md': [...redis, ...postgres, ...nats],
  'library/src/stores/nats.ts': nats,
  'library/src/stores/postgres.ts': postgres,
  'library/src/stores/redis.ts': redis,
}

for (const [path, options] of Object.entries(said)) {
  test(`${path} says the timeouts that the service has`, () => {
    const text = readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
    // Numbers as 1_000 and as 1000, one line or several, in a comment or in code.
    const plain = text.replaceAll(/_|`|^ \*/gm, '').replaceAll(/\s+/g, ' ')
    for (const option of options) assert.ok(plain.includes(option), option)
  })
}

test('NATS is silent for as long as the others before it is left', () => {
  const pingsWithoutAnAnswer = 3
  assert.equal(pingsWithoutAnAnswer * pingEveryMs, silenceMs)
})
