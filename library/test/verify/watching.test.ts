// Who holds something open for a session hears of its end also while nobody can be asked.
import assert from 'node:assert/strict'
import { once, EventEmitter } from 'node:events'
import { test } from 'node:test'
import { createSessions, type Store } from 'holdfast'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import { fakeClock } from 'holdfast/testing'

for (const [name, feed] of [
  ['without a feed', undefined],
  ['with a feed', memoryFeed()],
] as const) {
  test(`${name}: an outage closes nothing before the absolute limit, and nothing outlives that`, async () => {
    const clock = fakeClock()
    const right = memoryStore({ clock })
    const asked = new EventEmitter()
    const store: Store = {
      ...right,
      async get() {
        asked.emit('get')
        throw new Error('connection lost')
      },
    }
    const sessions = createSessions({ store, feed, now: clock.now, maxStaleness: '500ms' })
    // Timers of the library keep no process alive.
    const alive = setInterval(() => {}, 1_000)
    try {
      const { session } = await sessions.start('ada')
      const over: string[] = []
      const heard = new EventEmitter()
      sessions.watch(session, (why) => {
        over.push(why)
        heard.emit('over')
      })
      clock.advance('31m')
      await once(asked, 'get')
      await once(asked, 'get')
      assert.deepEqual(over, [])
      clock.advance('12h')
      await once(heard, 'over')
      assert.deepEqual(over, ['ended'])
    } finally {
      clearInterval(alive)
      sessions.close()
    }
  })
}
