// express-session itself on a Holdfast store.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { Express } from 'express'
import session, { type SessionData, type Store as ExpressStore } from 'express-session'
import { SessionGoneError, type Notice } from 'holdfast'
import { asExpressStore, expressRecord } from 'holdfast/compat/express-store'
import { memoryStore } from 'holdfast/stores/memory'
import { run, secret, type Running } from './apps.ts'

const { Cookie } = session as unknown as { Cookie: new (o?: object) => SessionData['cookie'] }

function newSid(): string {
  return randomBytes(24).toString('base64url')
}

/** What `call` calls back with. */
function called<T>(call: (done: (error: unknown, value?: T | null) => void) => void): Promise<T | null | undefined> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(error as Error) : resolve(value)))
  })
}

const get = (store: ExpressStore, sid: string) => called<SessionData>((done) => store.get(sid, done))
const set = (store: ExpressStore, sid: string, data: object) =>
  called((done) => store.set(sid, { cookie: new Cookie(), ...data }, done))
const again = (store: ExpressStore, sid: string, read: object) =>
  called((done) => store.set(sid, read as SessionData, done))

test('what stores of express-session do', async () => {
  const store = asExpressStore(memoryStore())
  const [sid, other] = [newSid(), newSid()]
  assert.equal(await get(store, sid), null)
  await set(store, sid, { views: 1 })
  assert.equal((await get(store, sid))!.views, 1)
  await set(store, sid, { views: 2, user: 'ada' })
  assert.equal((await get(store, sid))!.views, 2, 'one that was never read is written all the same')
  await set(store, other, { views: 3 })
  assert.equal(await called((done) => store.length!(done)), 2)
  const all = (await called<SessionData[]>((done) => store.all!(done as never)))!
  assert.deepEqual(
    all.map(({ views }) => views).toSorted((a, b) => a! - b!),
    [2, 3],
  )
  await called((done) => store.destroy(sid, done))
  assert.equal(await get(store, sid), null)
  await called((done) => store.clear!(done))
  assert.equal(await called((done) => store.length!(done)), 0)
  store.set(sid, { cookie: new Cookie() })
  store.touch!(sid, { cookie: new Cookie() })
  store.destroy(sid)
})

test('it expires by its cookie, and is touched at most once per tenth of its time', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  const inner = memoryStore()
  let puts = 0
  const store = asExpressStore({ ...inner, put: (...args) => (puts++, inner.put(...args)) })
  const sid = newSid()
  await called((done) => store.set(sid, { cookie: new Cookie({ maxAge: 10_000 }), views: 1 }, done))
  const touch = async () => {
    const read = (await get(store, sid))!
    await called((done) => store.touch!(sid, { ...read, cookie: new Cookie({ maxAge: 10_000 }) }, done as never))
  }
  t.mock.timers.tick(900)
  await touch()
  assert.equal(puts, 1)
  t.mock.timers.tick(8000)
  await touch()
  assert.equal(puts, 2)
  t.mock.timers.tick(9999)
  assert.ok(await get(store, sid))
  t.mock.timers.tick(1)
  assert.equal(await get(store, sid), null)
})

test('writes of two that read the same are put together key by key', async () => {
  const store = asExpressStore(memoryStore())
  const sid = newSid()
  await set(store, sid, { views: 1, user: 'ada' })
  const [one, two] = [(await get(store, sid))!, (await get(store, sid))!]
  one.views = 2
  delete two.user
  two['b'] = true
  await again(store, sid, one)
  await again(store, sid, two)
  const { cookie: _, ...data } = (await get(store, sid))!
  assert.deepEqual(data, { views: 2, b: true })
})

test('a session that was destroyed is not made again by who read or wrote it before', async () => {
  const store = asExpressStore(memoryStore())
  const sid = newSid()
  await set(store, sid, { views: 1 })
  const read = (await get(store, sid))!
  const made = { cookie: new Cookie(), views: 5 }
  const own = newSid()
  await again(store, own, made)
  await called((done) => store.destroy(sid, done))
  await called((done) => store.destroy(own, done))
  await assert.rejects(again(store, sid, read), SessionGoneError)
  await assert.rejects(again(store, own, made), SessionGoneError)
  await called((done) => store.touch!(sid, read, done as never))
  assert.deepEqual([await get(store, sid), await get(store, own)], [null, null])
})

test('the store does not have what opens a session, and knows whose it is', async () => {
  const inner = memoryStore()
  const published: Notice[] = []
  const store = asExpressStore(inner, { feed: { publish: async (notice) => void published.push(notice) } })
  const sid = newSid()
  await set(store, sid, { passport: { user: 7 } })
  const [record] = await inner.listByUser('7')
  assert.ok(!JSON.stringify(record).includes(sid))
  const read = (await get(store, sid))!
  delete read.passport
  await again(store, sid, read)
  assert.deepEqual(await inner.listByUser('7'), [])
  await called((done) => store.destroy(sid, done))
  assert.deepEqual(published, [
    { kind: 'changed', id: record!.id, epoch: 2 },
    { kind: 'ended', ids: [record!.id], reason: 'signed-out' },
  ])
})

test('a session that comes over ends when its old store says, whatever its cookie says', async () => {
  const store = memoryStore()
  const [sid, now] = [newSid(), Date.now()]
  const kept = { cookie: { originalMaxAge: 60_000, expires: new Date(now - 1).toISOString() }, views: 1 }
  const record = await expressRecord(sid, kept, { userId: 'ada', expiresAt: now + 60_000, now })
  assert.ok(await store.put(record, null))
  const { views, cookie } = (await get(asExpressStore(store), sid))!
  assert.deepEqual([views, cookie.expires], [1, new Date(now + 60_000).toISOString()])
  const running = asExpressStore(store)
  const read = (await get(running, sid))!
  read.views = 2
  await again(running, sid, read)
  assert.equal((await store.listByUser('ada')).length, 1, 'whose it is was not for Passport to say')
})

test('express-session works on it, with all of a session’s methods', async () => {
  const build = (app: Express) => {
    app.get('/count', (req, res) => {
      req.session.views = (req.session.views ?? 0) + 1
      res.send(`${req.session.views}`)
    })
    app.get('/reload', (req, res) => {
      req.session.views = 99
      req.session.reload((error) => res.send(error ? error.message : `${req.session.views}`))
    })
    app.get('/regenerate', (req, res) => {
      req.session.regenerate(() => {
        req.session.views = 10
        req.session.save(() => res.send('10'))
      })
    })
    app.get('/load', (req, res) => {
      req.sessionStore.load(req.sessionID, (error, loaded) => res.send(String(error ?? loaded?.views)))
    })
    app.get('/destroy', (req, res) => void req.session.destroy(() => res.send('bye')))
  }
  for (const o of [
    { resave: false, rolling: false },
    { resave: true, rolling: true, cookie: { maxAge: 60_000 } },
  ]) {
    const seen: string[][] = []
    for (const store of [new session.MemoryStore(), asExpressStore(memoryStore())]) {
      const running: Running = await run(build, session({ store, secret, saveUninitialized: false, ...o }))
      try {
        const browser = running.browser()
        const paths = ['count', 'count', 'reload', 'count', 'load', 'regenerate', 'count', 'destroy', 'count']
        const bodies: string[] = []
        for (const path of paths) bodies.push((await browser.get(`/${path}`)).body)
        seen.push(bodies)
      } finally {
        await running.close()
      }
    }
    assert.deepEqual(seen[1], seen[0])
    assert.deepEqual(seen[0], ['1', '2', '2', '3', '3', '10', '11', 'bye', '1'])
  }
})
