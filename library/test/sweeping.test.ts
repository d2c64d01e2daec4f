// `createSessions` removes what has expired, where the engine does not, as it begins sessions.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSessions } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'

test('more expired sessions are removed than are begun', async () => {
  const clock = { now: Date.now() }
  const store = memoryStore({ clock: { now: () => clock.now } })
  let removed = 0
  const counted = { ...store, sweep: async (limit: number) => (removed += await store.sweep(limit)) }
  const sessions = createSessions({ store: counted, now: () => clock.now, lifetime: { idle: '30m', absolute: '12h' } })
  for (let i = 0; i < 1_000; i++) await sessions.start('ada')
  clock.now += 3_600_000
  removed = 0
  for (let i = 0; i < 256; i++) await sessions.start('ada')
  assert.equal(removed, 1_000)
  sessions.close()
})

test('no sweep begins while one is under way, so that a slow engine has no more of them', async () => {
  const answers: ((removed: number) => void)[] = []
  const sweep = () => new Promise<number>((resolve) => void answers.push(resolve))
  const store = { ...memoryStore(), sweep }
  const sessions = createSessions({ store, lifetime: { idle: '30m', absolute: '12h' } })
  for (let i = 0; i < 256; i++) await sessions.start('ada')
  assert.equal(answers.length, 1)
  answers[0]!(0)
  for (let i = 0; i < 64; i++) await sessions.start('ada')
  assert.equal(answers.length, 2)
  sessions.close()
})
