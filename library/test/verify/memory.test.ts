import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Store } from '../../src/index.ts'
import { around, browser } from '../fixtures.ts'
import { world } from './world.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

function heapBytes(): number {
  collect()
  return process.memoryUsage().heapUsed
}

test('what came along with a credential is not kept with it, nor the credential itself', async () => {
  const w = world()
  /** As engines do that keep nothing but bytes: the record has the id that was asked for. */
  const named = (store: Store) =>
    around(store, async (call, run, [id]) => {
      const found = (await run()) as object | null
      return call === 'get' && found !== null ? { ...found, id } : found
    })
  const a = await w.process({}, named)
  const tokens = await Promise.all(Array.from({ length: 1_000 }, async () => (await a.sessions.start('ada')).token))
  const before = heapBytes()
  for (const [i, token] of tokens.entries()) {
    // One text, as a header is, of which the token is a part.
    const cookies = Buffer.from(`__Host-session=${token}; other=${String(i).padStart(50_000, 'x')}`).toString('latin1')
    const one = browser(a.sessions)
    const visit = await one.visit({ headers: { cookie: cookies } })
    assert.equal(visit.userId, 'ada')
  }
  assert.equal(a.sessions.status()!.cached, 1_000)
  const grown = heapBytes() - before
  assert.ok(grown < 5_000_000, `1,000 entries keep ${grown} bytes`)
  w.close()
})
