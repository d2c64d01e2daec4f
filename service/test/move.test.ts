// What a move keeps safe, on stores in memory: whatever is done on either side, whenever, and however often the mover is killed.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import type { Feed, Notice, ScannableStore, SessionRecord } from 'holdfast'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import { clientRegistry } from '../src/clients.ts'
import { mover, type Mover, type MoverOptions, type Side } from '../src/move/mover.ts'
import { StartError } from '../src/start-error.ts'

type Where = 0 | 1

interface Memory extends Side {
  readonly feed: Feed
}

function side(feed = memoryFeed()): Memory {
  return { sessions: memoryStore(), clients: memoryStore(), feed }
}

function newRecord(o: Partial<SessionRecord> = {}): SessionRecord {
  const at = Date.now()
  return {
    id: randomBytes(16).toString('base64url'),
    userId: 'ada',
    credential: 'hash',
    identity: '{}',
    data: '[]',
    createdAt: at,
    seenAt: at,
    expiresAt: at + 3_600_000,
    epoch: 1,
    version: 1,
    ...o,
  }
}

/** Feeds have steps, and so the mover goes on, while `work` is under way. */
async function stepping<T>(sides: readonly Memory[], work: Promise<T>): Promise<T> {
  const done = new AbortController()
  const watched = work.finally(() => done.abort())
  watched.catch(() => {})
  for (; !done.signal.aborted; await turn()) for (const { feed } of sides) await feed.publish({ kind: 'keys' })
  return watched
}

interface Moving extends Mover {
  kill(): void
}

async function start(from: Memory, to: Memory, o: Partial<MoverOptions> = {}): Promise<Moving> {
  const killing = new AbortController()
  const moving = mover({ from, to, signal: killing.signal, ...o })
  const found = await stepping([from, to], moving)
  return Object.assign(Object.create(found) as Mover, {
    pass: () => stepping([from, to], found.pass()),
    kill: () => killing.abort(),
  })
}

async function all(store: ScannableStore): Promise<readonly SessionRecord[]> {
  return (await store.scan({ limit: 1000 })).records.toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

async function assertSame(from: Side, to: Side): Promise<void> {
  assert.deepEqual(await all(to.sessions), await all(from.sessions))
}

async function end({ sessions, feed }: Memory, id: string): Promise<void> {
  await feed.publish({ kind: 'ended', ids: [id], reason: 'ended' })
  await sessions.delete([id])
}

async function change(store: ScannableStore, id: string, make: (r: SessionRecord) => Partial<SessionRecord>) {
  for (;;) {
    const record = await store.get(id)
    if (record === null) return false
    if (await store.put({ ...record, ...make(record), version: record.version + 1 }, record.version)) return true
  }
}

/** The notices of a feed from now on. */
function heard(feed: Feed): { notices: Notice[]; stop(): void } {
  const [notices, stopping] = [[] as Notice[], new AbortController()]
  const follow = async () => {
    for await (const step of feed.follow({ signal: stopping.signal, now: () => performance.now() })) {
      notices.push(...step.notices)
    }
  }
  void follow()
  return { notices, stop: () => stopping.abort() }
}

describe('a move', () => {
  it('copies what there is, and finds it there the second time', async () => {
    const [from, to] = [side(), side()]
    for (let i = 0; i < 700; i++) await from.sessions.put(newRecord(), null)
    const first = await start(from, to)
    assert.deepEqual(await first.pass(), { failed: 0, error: null })
    await assertSame(from, to)
    assert.equal(first.counts.copied, 700)
    first.kill()
    const second = await start(from, to)
    await second.pass()
    assert.deepEqual([second.resumed, second.counts.copied, second.counts.alike], [true, 0, 700])
    second.kill()
  })

  it('takes over what changed while it was away, as one side changed it', async () => {
    const [from, to] = [side(), side()]
    const [mine, theirs] = [newRecord(), newRecord()]
    for (const record of [mine, theirs]) await from.sessions.put(record, null)
    const first = await start(from, to)
    await first.pass()
    first.kill()
    await change(from.sessions, mine.id, () => ({ data: '["here"]' }))
    await change(to.sessions, theirs.id, () => ({ data: '["there"]' }))
    const second = await start(from, to)
    await second.pass()
    await assertSame(from, to)
    const data = await Promise.all([mine, theirs].map(async ({ id }) => (await from.sessions.get(id))!.data))
    assert.deepEqual(data, ['["here"]', '["there"]'])
    second.kill()
  })

  it('ends what ended after it was killed in its first pass', async () => {
    const [from, to] = [side(), side()]
    const [copied, left] = [newRecord(), newRecord()]
    for (const record of [copied, left]) await from.sessions.put(record, null)
    const first = await start(from, to)
    // Not everything came across, so the pass was none.
    const { put } = to.sessions
    to.sessions.put = async (record, expected) => {
      if (record.id === left.id) throw new Error('full')
      return put(record, expected)
    }
    assert.equal((await first.pass()).failed, 1)
    to.sessions.put = put
    first.kill()
    await end(from, copied.id)
    const second = await start(from, to)
    await second.pass()
    assert.equal(second.resumed, true)
    await assertSame(from, to)
    assert.equal((await all(to.sessions)).length, 1)
    second.kill()
  })

  it('tells processes on the other side of endings and of changed roles', async () => {
    const [from, to] = [side(), side()]
    const [ended, demoted] = [newRecord(), newRecord()]
    for (const record of [ended, demoted]) await from.sessions.put(record, null)
    const moving = await start(from, to)
    await moving.pass()
    const there = heard(to.feed)
    await end(from, ended.id)
    await change(from.sessions, demoted.id, () => ({ identity: '{"roles":[]}', epoch: 2 }))
    await from.feed.publish({ kind: 'changed', id: demoted.id, epoch: 2 })
    await moving.pass()
    await moving.pass()
    const found = there.notices.filter(({ kind }) => kind !== 'keys')
    assert.deepEqual(found, [
      { kind: 'ended', ids: [ended.id], reason: 'ended' },
      { kind: 'changed', id: demoted.id, epoch: 2 },
    ])
    await assertSame(from, to)
    there.stop()
    moving.kill()
  })

  it('leaves it to who ends a session to delete it there', async () => {
    const [from, to] = [side(), side()]
    const record = newRecord()
    await from.sessions.put(record, null)
    const moving = await start(from, to)
    await moving.pass()
    await from.feed.publish({ kind: 'ended', ids: [record.id], reason: 'ended' })
    await moving.pass()
    await moving.pass()
    assert.equal(await to.sessions.get(record.id), null)
    assert.deepEqual(await from.sessions.delete([record.id]), [record.id])
    moving.kill()
  })

  it('ends nothing when the target loses everything, and fills it again', async () => {
    const [from, to] = [side(), side()]
    for (let i = 0; i < 50; i++) await from.sessions.put(newRecord(), null)
    await clientRegistry(from.clients).add('shop', ['verify'])
    const moving = await start(from, to)
    await moving.pass()
    for (const store of [to.sessions, to.clients]) await store.delete((await all(store)).map(({ id }) => id))
    await moving.pass()
    assert.equal((await all(from.sessions)).length, 50)
    assert.equal((await clientRegistry(from.clients).list()).length, 1)
    await assertSame(from, to)
    moving.kill()
  })

  it('ends nothing because an old copy expired', async () => {
    const [from, to] = [side(), side()]
    const record = newRecord({ expiresAt: Date.now() + 30_000 })
    await from.sessions.put(record, null)
    const moving = await start(from, to)
    await moving.pass()
    await change(from.sessions, record.id, ({ expiresAt }) => ({ expiresAt: expiresAt + 3_600_000 }))
    // As if its time were over.
    await to.sessions.delete([record.id])
    await moving.pass()
    await assertSame(from, to)
    assert.equal((await all(to.sessions)).length, 1)
    moving.kill()
  })

  it('takes over clients and keys, and that a client was removed while it was away', async () => {
    const [from, to] = [side(), side()]
    const registry = clientRegistry(from.clients)
    for (const id of ['shop', 'till']) await registry.add(id, ['verify'])
    const first = await start(from, to)
    await first.pass()
    first.kill()
    await registry.remove('shop')
    await clientRegistry(to.clients).add('office', ['read'])
    const second = await start(from, to)
    await second.pass()
    for (const { clients } of [from, to]) {
      const ids = (await clientRegistry(clients).list()).map(({ id }) => id)
      assert.deepEqual(ids, ['office', 'till'])
    }
    second.kill()
  })

  it('keeps what each side changed when both did, and less rights rather than later use', async () => {
    const [from, to] = [side(), side()]
    const [touched, demoted] = [newRecord(), newRecord()]
    for (const record of [touched, demoted]) await from.sessions.put(record, null)
    const moving = await start(from, to)
    await moving.pass()
    await change(from.sessions, touched.id, () => ({ data: '["book"]' }))
    await change(to.sessions, touched.id, ({ seenAt }) => ({ seenAt: seenAt + 5 }))
    await change(from.sessions, demoted.id, () => ({ identity: '{"roles":[]}', epoch: 2 }))
    for (const data of ['["a"]', '["b"]', '["c"]']) await change(to.sessions, demoted.id, () => ({ data }))
    await moving.pass()
    await assertSame(from, to)
    const [one, two] = [await to.sessions.get(touched.id), await to.sessions.get(demoted.id)]
    assert.deepEqual([one!.data, one!.seenAt], ['["book"]', touched.seenAt + 5])
    assert.deepEqual([two!.data, two!.identity, two!.epoch], ['["c"]', '{"roles":[]}', 2])
    assert.equal(moving.counts.dropped, 0)
    await change(from.sessions, touched.id, () => ({ data: '["x"]' }))
    await change(to.sessions, touched.id, () => ({ data: '["y"]' }))
    await moving.pass()
    await assertSame(from, to)
    assert.equal(moving.counts.dropped, 1)
    moving.kill()
  })

  it('refuses to go on when it was away for longer than a feed remembers, unless the target is to be a copy', async () => {
    const [from, to] = [side(), side()]
    const record = newRecord()
    await from.sessions.put(record, null)
    const first = await start(from, to)
    await first.pass()
    first.kill()
    await end(from, record.id)
    const later = { ...from, feed: memoryFeed() }
    await assert.rejects(start(later, to), (error) => error instanceof StartError && /--replace/.test(error.message))
    const second = await start(later, to, { replace: true })
    await second.pass()
    assert.deepEqual([await all(from.sessions), await all(to.sessions)], [[], []])
    second.kill()
  })

  it('makes the target a copy when told to, and afterwards no more', async () => {
    const [from, to] = [side(), side()]
    const [mine, theirs] = [newRecord(), newRecord()]
    await from.sessions.put(mine, null)
    await to.sessions.put(theirs, null)
    await to.sessions.put({ ...mine, data: '["tried out"]', version: 9 }, null)
    const moving = await start(from, to, { replace: true })
    await moving.pass()
    const now = await all(from.sessions)
    assert.deepEqual([now.map(({ id, data }) => [id, data]), await all(to.sessions)], [[[mine.id, '[]']], now])
    await to.sessions.put(theirs, null)
    await moving.pass()
    assert.equal((await all(from.sessions)).length, 2)
    moving.kill()
  })

  it('refuses a store as its own target', async () => {
    const one = side()
    await assert.rejects(start(one, { ...one }), StartError)
  })

  it('says what could not be written, and writes it when it can be', async () => {
    const [from, to] = [side(), side()]
    for (let i = 0; i < 5; i++) await from.sessions.put(newRecord(), null)
    let isFull = true
    const full = {
      ...to.sessions,
      put: async (...args: Parameters<ScannableStore['put']>) => {
        if (isFull) throw new Error('full')
        return to.sessions.put(...args)
      },
    }
    const moving = await start(from, { ...to, sessions: full })
    const { failed, error } = await moving.pass()
    assert.deepEqual([failed, (error as Error).message], [5, 'full'])
    isFull = false
    assert.equal((await moving.pass()).failed, 0)
    await assertSame(from, to)
    moving.kill()
  })
})

/** `after`: so many turns of the event loop. */
type Step = { readonly where: Where; readonly after: number } & (
  | { readonly do: 'start' | 'pass' | 'kill' }
  | { readonly do: 'update' | 'demote' | 'end' | 'vanish'; readonly which: number }
)

const where = fc.constantFrom<Where>(0, 1)
const after = fc.oneof(fc.constant(0), fc.nat(20))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('start' as const, 'pass' as const), where, after }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), where, after }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom('update' as const, 'update' as const, 'demote' as const, 'end' as const, 'vanish' as const),
      where,
      after,
      which: fc.nat(3),
    }),
  },
)

/** What was acknowledged about a session. */
interface Expected {
  readonly id: string
  readonly tags: string[]
  epoch: number
  /** `unclear`: gone without a notice, and no pass of the mover has yet both seen it on both sides and missed it. */
  fate: 'alive' | 'ended' | 'unclear'
  /** Sides that wrote since the beginning of the last whole pass, and before that, while one was under way. */
  wrote: Set<Where>
  wroteBefore: Set<Where>
  /** Both sides changed it at once: a change of data may be lost. */
  torn: boolean
  /** How far the running mover is with it. */
  seen: 'no' | 'is' | 'yes'
  missed: 'no' | 'is' | 'yes'
}

/** Takes a while before and after each call, as an engine does. */
function slow(store: ScannableStore, delays: readonly number[]): ScannableStore {
  let at = 0
  const wait = async () => {
    for (let i = delays[at++ % delays.length]!; i > 0; i--) await turn()
  }
  const slowed =
    <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
    async (...args: A) => {
      await wait()
      const result = await call(...args)
      await wait()
      return result
    }
  return {
    get: slowed(store.get),
    put: slowed(store.put),
    delete: slowed(store.delete),
    listByUser: slowed(store.listByUser),
    scan: slowed(store.scan),
  }
}

async function history(steps: readonly Step[], delays: readonly number[]): Promise<void> {
  const sides = [side(), side()] as const
  const seen = sides.map((one) => ({ ...one, sessions: slow(one.sessions, delays) })) as [Memory, Memory]
  const known: Expected[] = []
  let moving = null as Moving | null
  let passing = null as Promise<unknown> | null
  let tag = 0

  async function passed(): Promise<void> {
    await passing
    passing = null
  }
  function begin(): void {
    for (const one of known) {
      ;[one.wroteBefore, one.wrote] = [new Set(one.wrote), new Set()]
      if (one.seen === 'no' && one.fate === 'alive') one.seen = 'is'
      if (one.missed === 'no' && one.fate === 'unclear' && one.seen === 'yes') one.missed = 'is'
    }
    passing = moving!.pass().then(() => {
      for (const one of known) {
        one.wroteBefore = new Set()
        if (one.seen === 'is') one.seen = 'yes'
        if (one.missed === 'is') one.fate = 'ended'
      }
    })
    passing.catch(() => {})
  }

  for (const now of steps) {
    const { sessions, feed } = sides[now.where]
    for (let i = 0; i < now.after; i++) await turn()
    switch (now.do) {
      case 'pass':
        await passed()
        moving ??= await start(...seen)
        begin()
        break
      case 'kill':
        moving?.kill()
        await passing?.catch(() => {})
        moving = passing = null
        for (const one of known) {
          ;[one.seen, one.missed] = ['no', 'no']
          for (const before of one.wroteBefore) one.wrote.add(before)
        }
        break
      case 'start': {
        const { id } = newRecord()
        await sessions.put(newRecord({ id }), null)
        const none = { wrote: new Set<Where>(), wroteBefore: new Set<Where>(), torn: false }
        known.push({ id, tags: [], epoch: 1, fate: 'alive', seen: 'no', missed: 'no', ...none })
        break
      }
      default: {
        const one = known[now.which]
        if (one === undefined || one.fate !== 'alive') break
        if (now.do === 'end') {
          if ((await sessions.get(one.id)) === null) break
          one.fate = 'ended'
          await end(sides[now.where], one.id)
        } else if (now.do === 'vanish') {
          // By a process without a feed: only the mover can tell, and only while it runs.
          if ((await sessions.delete([one.id])).length === 0) break
          one.fate = 'unclear'
          if (one.seen === 'is') one.seen = 'no'
        } else {
          const name = String(tag++)
          const isDemotion = now.do === 'demote'
          const isDone = await change(sessions, one.id, ({ data, epoch }) => ({
            data: JSON.stringify([...(JSON.parse(data) as string[]), name]),
            ...(isDemotion ? { epoch: epoch + 1, identity: name } : {}),
          }))
          if (!isDone) break
          one.tags.push(name)
          one.wrote.add(now.where)
          if (new Set([...one.wrote, ...one.wroteBefore]).size === 2) one.torn = true
          if (isDemotion) {
            one.epoch++
            await feed.publish({ kind: 'changed', id: one.id, epoch: one.epoch })
          }
        }
      }
    }
  }
  await passed()
  moving ??= await start(...seen)
  for (let i = 0; i < 3; i++) {
    begin()
    await passed()
  }
  moving.kill()

  await assertSame(sides[0], sides[1])
  for (const one of known) {
    const record = await sides[1].sessions.get(one.id)
    if (one.fate === 'ended') assert.equal(record, null, 'an ending was undone')
    if (one.fate !== 'alive') continue
    assert.ok(record !== null, 'somebody was signed out')
    if (one.torn) continue
    assert.deepEqual(JSON.parse(record.data), one.tags, 'a change was lost')
    assert.equal(record.epoch, one.epoch)
  }
}

test('whatever is done on both sides, nobody is signed out, no ending undone, no change of one side lost', async () => {
  const delays = fc.array(fc.nat(3), { minLength: 1, maxLength: 12 })
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 25 }), delays, history), {
    numRuns: Number(process.env['MOVE_RUNS'] ?? 150),
  })
})
