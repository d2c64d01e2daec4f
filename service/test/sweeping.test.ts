// What has expired goes, however much of it there is, and without taking the engine for itself.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import type { SessionRecord, SweepableStore } from 'holdfast'
import { memoryStore } from 'holdfast/stores/memory'
import { sqliteStore } from 'holdfast/stores/sqlite'
import { createLogger } from '../src/logs.ts'
import { sweeping } from '../src/sweeping.ts'
import { serviceOn, until } from './service.ts'

const hour = 3_600_000

/** Of a session that is over, or will be in an hour. */
function record(id: string, isOver: boolean): SessionRecord {
  const createdAt = Date.now() - hour
  return {
    id,
    userId: null,
    credential: '',
    identity: '{}',
    data: '{}',
    createdAt,
    seenAt: createdAt,
    expiresAt: createdAt + (isOver ? hour / 2 : 2 * hour),
    epoch: 1,
    version: 1,
  }
}

/** A store that can be swept and does nothing else. */
function sweepable(sweep: SweepableStore['sweep']): SweepableStore {
  return { ...memoryStore(), sweep }
}

function log() {
  const lines: Record<string, unknown>[] = []
  const logger = createLogger('info', { write: (line: string) => void lines.push(JSON.parse(line)) })
  return { lines, logger }
}

test('a service removes a backlog of several batches, and nothing that is live', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-sweeping-'))
  const path = join(folder, 'sessions.db')
  const past = { now: () => Date.now() - 2 * hour }
  const database = new DatabaseSync(path)
  const store = sqliteStore(database, { clock: past })
  await Promise.all(Array.from({ length: 2_345 }, (_, i) => store.put(record(`over-${i}`, true), null)))
  await store.put(record('live', false), null)
  const count = () => Number(database.prepare('SELECT count(*) AS n FROM sessions').get()!['n'])
  assert.equal(count(), 2_346)
  const service = await serviceOn(`sqlite:${path}`)
  await until(() => count() === 1, 'nothing being left of what is over')
  assert.equal((await sqliteStore(database).get('live'))?.id, 'live')
  await service.stop()
  database.close()
  rmSync(folder, { recursive: true })
})

test('between two batches it rests for several times as long as one takes', async () => {
  const times: { began: number; ended: number }[] = []
  const { promise: done, resolve } = Promise.withResolvers<void>()
  const stop = sweeping(
    sweepable(async (limit) => {
      const began = performance.now()
      await new Promise((answered) => setTimeout(answered, 10))
      const ended = performance.now()
      if (times.push({ began, ended }) < 4) return limit
      resolve()
      return limit - 1
    }),
    log().logger,
  )
  await done
  stop()
  for (const [i, { began }] of times.slice(1).entries()) {
    const before = times[i]!
    assert.ok(began - before.ended >= 3 * (before.ended - before.began))
  }
})

test('a stop ends it between two batches', async () => {
  let calls = 0
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  const { promise: answered, resolve: answer } = Promise.withResolvers<number>()
  const stop = sweeping(
    sweepable((limit) => {
      calls++
      ask()
      return calls === 1 ? answered : Promise.resolve(limit)
    }),
    log().logger,
  )
  await asked
  stop()
  answer(1_000)
  // Longer than a rest would be, whatever the first took.
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.equal(calls, 1)
})

test('an engine that fails is a line of the log, and one that was closed is none', async () => {
  const { lines, logger } = log()
  const first = sweeping(
    sweepable(async () => {
      throw new Error('full disk')
    }),
    logger,
  )
  await until(() => lines.length > 0, 'a line')
  first()
  assert.deepEqual(
    lines.map(({ level, msg }) => [level, msg]),
    [['warn', 'expired sessions could not be removed']],
  )
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  const { promise: answered, reject } = Promise.withResolvers<number>()
  const second = sweeping(
    sweepable(() => {
      ask()
      return answered
    }),
    logger,
  )
  await asked
  second()
  reject(new Error('closed'))
  await answered.catch(() => {})
  await new Promise(setImmediate)
  assert.equal(lines.length, 1)
})
