// Redis under Sentinel, as the service connects to it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startRedisSentinel } from '../../scripts/servers/redis.ts'
import { openEngine } from '../src/engines/engine.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'

test('calls that come at once are all answered', async (t) => {
  const { name, sentinels, stop } = await startRedisSentinel()
  t.after(stop)
  const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join()
  const engine = await openEngine(parseStoreUrl(`redis+sentinel://${hosts}/${name}`), () => {})
  t.after(() => engine.close())
  // Those that node-redis forgets hang until the runner gives the test up.
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => engine.sessions.get(`none-${i}`)))
  assert.deepEqual(new Set(answers), new Set([null]))
})
