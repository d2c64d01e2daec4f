import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { afterEach, mock, test } from 'node:test'
import { deadline, DeadlineExceeded } from '../../src/internal/deadline.ts'
import { stayAwake } from '../fixtures.ts'

const never = () => new Promise<never>(() => {})

/** Time passes only by what it returns, in ms. */
function standingStill(): (ms: number) => void {
  mock.timers.enable({ apis: ['setInterval'] })
  let at = 0
  mock.method(performance, 'now', () => at)
  return (ms) => {
    for (const until = at + ms; at < until;) {
      at++
      mock.timers.tick(1)
    }
  }
}

afterEach(() => {
  mock.timers.reset()
  mock.restoreAll()
})

test('a call that settles in time is answered as it settled', async () => {
  const inTime = deadline(1000)
  assert.equal(await inTime(async () => 7), 7)
  await assert.rejects(
    inTime(async () => {
      throw new RangeError('mine')
    }),
    RangeError,
  )
  await assert.rejects(
    inTime(() => {
      throw new RangeError('mine')
    }),
    RangeError,
  )
})

test('a call that hangs is given up after the deadline, at most a tenth later, and is told', async () => {
  const pass = standingStill()
  const inTime = deadline(100)
  let signal: AbortSignal | undefined
  const outcomes: unknown[] = []
  const call = inTime((given) => {
    signal = given
    return never()
  })
  call.catch((error: unknown) => outcomes.push(error))
  pass(100)
  await Promise.resolve()
  assert.equal(signal!.aborted, false)
  pass(10)
  await assert.rejects(call, DeadlineExceeded)
  assert.equal(signal!.aborted, true)
  assert.match(String(outcomes[0]), /100 ms/)
})

test('a call that begins just before a tick still gets its whole time', async () => {
  const pass = standingStill()
  const inTime = deadline(100)
  inTime(never).catch(() => {})
  pass(9)
  let ended = false
  const call = inTime(never)
  call.catch(() => (ended = true))
  pass(100)
  await Promise.resolve()
  assert.equal(ended, false)
  pass(10)
  await assert.rejects(call, DeadlineExceeded)
})

test('a call has its own deadline, not that of the one before it', async () => {
  const pass = standingStill()
  const inTime = deadline(100)
  const first = inTime(never)
  pass(50)
  let ended = false
  const second = inTime(never)
  second.catch(() => (ended = true))
  pass(60)
  await assert.rejects(first, DeadlineExceeded)
  assert.equal(ended, false)
  pass(50)
  await assert.rejects(second, DeadlineExceeded)
})

/** Keeps the process from doing anything else. */
function holdUp(ms: number): void {
  for (const until = performance.now() + ms; performance.now() < until;);
}

test('in a process that is held up all the time a call is given up after a few turns', async () => {
  const awake = stayAwake()
  const over = new AbortController()
  deadline(100)(never).catch(() => over.abort())
  let turns = 0
  for (; !over.signal.aborted && turns < 20; turns++) {
    holdUp(60)
    await new Promise((resolve) => setTimeout(resolve))
  }
  assert.ok(turns <= 6, `${turns} turns of 60 ms for a deadline of 100 ms`)
  awake.sleep()
})

test('what was answered while the process was held up is in time', async () => {
  const answer = Promise.withResolvers<number>()
  const call = deadline(100)(() => answer.promise)
  await new Promise((resolve) => setTimeout(resolve, 20))
  setImmediate(() => {
    holdUp(300)
    // As what a socket has received: after the timers that are due.
    setImmediate(() => answer.resolve(7))
  })
  assert.equal(await call, 7)
})

test('calls of the same moment share a timer, and none is left when all have run out', async () => {
  const awake = stayAwake()
  const intervals = mock.method(globalThis, 'setInterval')
  const cleared = mock.method(globalThis, 'clearInterval')
  try {
    const inTime = deadline(20)
    const calls = [
      ...Array.from({ length: 50 }, () => inTime(never)),
      ...Array.from({ length: 50 }, () => inTime(async () => 1)),
    ]
    const outcomes = await Promise.allSettled(calls)
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      [...Array(50).fill('rejected'), ...Array(50).fill('fulfilled')],
    )
    assert.equal(intervals.mock.callCount(), 1)
    const timer = intervals.mock.calls[0]!.result
    // That of an earlier test may run out now.
    assert.equal(cleared.mock.calls.filter((call) => call.arguments[0] === timer).length, 1)
  } finally {
    awake.sleep()
  }
})

test('the timer does not keep the process alive', () => {
  const module = new URL('../../src/internal/deadline.ts', import.meta.url)
  const program = `import { deadline } from ${JSON.stringify(module)}; void deadline(3600000)(() => new Promise(() => {}))`
  const { status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 })
  assert.deepEqual({ status, signal }, { status: 0, signal: null })
})
