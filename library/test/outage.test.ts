// What an outage of the engine does to sessions, the same for every engine: a 503 in time, nobody let in, nobody signed out.
import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import { createSessions, StoreUnavailableError, type SessionEvent } from 'holdfast'
import { browser, exchange, stayAwake, within } from './fixtures.ts'
import { engines, type RunningEngine } from './outage/engines.ts'

const awake = stayAwake()
after(() => awake.sleep())

const deadlineMs = 500
/** A write whose answer is lost takes two deadlines, each up to a tenth longer; what else is on the way takes less than this machine's hiccups. */
const controlMs = 4 * deadlineMs

interface Outage {
  readonly what: string
  begin(engine: RunningEngine): Promise<void>
  end(engine: RunningEngine): Promise<void>
}

const outages: readonly Outage[] = [
  {
    what: 'stands still (SIGSTOP)',
    begin: async (engine) => engine.server().pause(),
    end: async (engine) => engine.server().resume(),
  },
  { what: 'is killed', begin: (engine) => engine.server().kill(), end: (engine) => engine.restart() },
]

for (const { name, keeps, hasFeed, start } of engines) {
  describe(name, () => {
    let engine: RunningEngine
    before(async () => {
      engine = await start()
    })
    after(() => engine.stop())
    for (const { what, begin, end } of outages) {
      const keepsIt = keeps || what !== 'is killed'
      const inOutage =
        (contract: (running: RunningEngine, fault: Fault) => Promise<string>) => async (t: TestContext) => {
          if (engine.server().pid === 0) return t.skip("the server is somebody else's")
          let isAway = false
          const fault = {
            keepsIt,
            async begin() {
              isAway = true
              await begin(engine)
            },
            async end() {
              await end(engine)
              isAway = false
            },
          }
          try {
            t.diagnostic(`${name}: ${await contract(engine, fault)}`)
          } finally {
            if (isAway) await fault.end()
          }
        }
      test(`it ${what}: a 503 in time, and all is well after`, inOutage(survives))
      if (hasFeed) test(`it ${what}: with its feed, nobody is let in past maxStaleness`, inOutage(keepsTheBound))
    }
  })
}

interface Fault {
  /** Whether the engine still has afterwards what it had. */
  readonly keepsIt: boolean
  begin(): Promise<void>
  end(): Promise<void>
}

async function survives(engine: RunningEngine, { keepsIt, begin, end }: Fault): Promise<string> {
  const events: SessionEvent[] = []
  const onEvent = (event: SessionEvent) => void events.push(event)
  const sessions = createSessions({ store: engine.store, deadline: `${deadlineMs}ms`, onEvent })
  const before = calm(engine)
  const [ada, bert] = [browser(before), browser(before)]
  await (await ada.visit()).signIn('ada')
  await (await ada.visit()).update('visits', () => 1)
  await (await bert.visit()).signIn('bert')
  const ended = await before.start('carl')
  const [owner, other] = [browser(sessions, ada.cookies), browser(sessions, bert.cookies)]
  const held = await firstSuccess(() => owner.visit())
  const cookie = owner.token

  await begin()
  const reports = () => events.map(({ type }) => type).filter((type) => type.startsWith('store-'))
  for (let round = 0; round < 2 || reports().length === 0; round++) {
    assert.ok(round < 20, 'the outage is not noticed')
    const served = [sessions.open(exchange()), sessions.open('malformed')]
    const refused = {
      'a visit': owner.visit(),
      'another visit': other.visit(),
      'a token': sessions.open(ended.token),
      'an update': held.update('visits', () => 2),
      'a sign-in': browser(sessions)
        .visit()
        .then((guest) => guest.signIn('dora')),
      'an ending': sessions.end(ended.session.id!),
      'the end of a user': sessions.endUser('bert'),
      'a list': sessions.list('ada'),
    }
    const settled = Promise.allSettled([...served, ...Object.values(refused)])
    await within(controlMs, settled)
    assert.deepEqual(
      (await Promise.all(served)).map(({ id }) => id),
      [null, null],
    )
    for (const [what, call] of Object.entries(refused)) await assert.rejects(call, isUnavailable, what)
  }
  assert.equal(owner.token, cookie, 'somebody was signed out')
  assert.deepEqual(other.lines, [])
  assert.deepEqual(reports(), ['store-down'])

  const back = firstSuccess(() => owner.visit())
  await end()
  await firstSuccess(() => engine.ask())
  const engineAt = performance.now()
  const session = await within(controlMs, back)
  const figure = `sessions were back ${Math.max(0, Math.round(performance.now() - engineAt))} ms after the engine itself`

  await firstSuccess(() => sessions.start('eve'))
  assert.deepEqual(reports(), ['store-down', 'store-up'])
  if (!keepsIt) {
    assert.deepEqual([session.userId, session.refused], [null, 'unknown'])
    return figure
  }
  assert.equal(session.userId, 'ada')
  assert.equal(owner.token, cookie)
  // The updates that were refused may have come through, once.
  assert.ok([1, 2].includes((await firstSuccess(() => session.read('visits'))) as number))
  assert.equal(await firstSuccess(() => session.update('visits', () => 3)), 3)
  await firstSuccess(() => sessions.end(ended.session.id!))
  assert.equal((await firstSuccess(() => sessions.open(ended.token))).userId, null)
  return figure
}

async function keepsTheBound(engine: RunningEngine, { keepsIt, begin, end }: Fault): Promise<string> {
  const { store, feed } = engine
  const o = { store, feed: feed!, deadline: `${deadlineMs}ms`, maxStaleness: '1s' } as const
  const [sessions, elsewhere] = [createSessions(o), createSessions(o)]
  try {
    const before = calm(engine)
    const { token } = await before.start('ada')
    const ended = (await before.start('bert')).session.id!
    await firstSuccess(async () => assert.ok(sessions.status()!.fresh && elsewhere.status()!.fresh))
    assert.equal((await firstSuccess(() => sessions.open(token))).userId, 'ada')

    await begin()
    const bound = AbortSignal.timeout(1_000)
    let letIn = 0
    for (let isRefused = false; !bound.aborted || !isRefused;) {
      const beganPast = bound.aborted
      const opened = sessions.open(token).then(
        ({ userId }) => userId,
        (error: unknown) => isUnavailable(error),
      )
      const outcome = await within(controlMs, opened)
      assert.ok(outcome === 'ada' || outcome === true, `an open came to '${outcome}'`)
      assert.ok(outcome !== 'ada' || !beganPast, 'let in past the bound')
      isRefused = outcome === true
      if (!isRefused) letIn++
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    await assert.rejects(elsewhere.end(ended), isUnavailable)

    await end()
    const back = await firstSuccess(() => sessions.open(token))
    assert.equal(back.userId, keepsIt ? 'ada' : null)
    const next = await firstSuccess(() => sessions.start('eve'))
    await firstSuccess(async () => assert.equal((await sessions.open(next.token)).userId, 'eve'))
    await firstSuccess(() => elsewhere.end(next.session.id!, { settled: true }))
    assert.equal((await firstSuccess(() => sessions.open(next.token))).userId, null)
    return `let in ${letIn} times within the bound, never past it`
  } finally {
    sessions.close()
    elsewhere.close()
  }
}

/** What happens before the outage: on a busy machine it may take longer than a deadline. */
function calm({ store }: RunningEngine) {
  return createSessions({ store, deadline: '20s' })
}

function isUnavailable(error: unknown): boolean {
  return error instanceof StoreUnavailableError && error.statusCode === 503 && Number(error.headers['Retry-After']) >= 1
}

async function firstSuccess<T>(call: () => Promise<T>): Promise<T> {
  for (const giveUpAt = performance.now() + 20_000; ;) {
    try {
      return await call()
    } catch (error) {
      if (performance.now() > giveUpAt) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}
