// What an application gains by changing one import. Each is shown to be lost with express-session itself.
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import express, { type Express } from 'express'
import session from 'express-session'
import { ConfigError, createSessions, StoreUnavailableError, type SessionEvent, type Store } from 'holdfast'
import { session as holdfastSession, type ExpressSessionOptions } from 'holdfast/compat/express-session'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import passport from 'passport'
import { Strategy } from 'passport-local'
import { here, run, secret, there, type Running } from './apps.ts'

/** An application one of whose requests waits in the middle. */
function waiting(): { build: (app: Express) => void; entered: Promise<void>; leave: () => void } {
  const [entered, leaving] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  return {
    entered: entered.promise,
    leave: leaving.resolve,
    build(app) {
      app.get('/slow/:key', async (req, res) => {
        req.session[req.params.key] = 'slow'
        entered.resolve()
        await leaving.promise
        res.send('done')
      })
      app.get('/set/:key', (req, res) => {
        req.session[req.params.key] = 'quick'
        res.send('done')
      })
      app.get('/remove/:key', (req, res) => {
        delete req.session[req.params.key]
        res.send('done')
      })
      app.get('/read', (req, res) => {
        const { cookie: _, ...data } = req.session
        res.json(data)
      })
      app.get('/destroy', (req, res) => void req.session.destroy(() => res.send('bye')))
      app.get('/renew', (req, res) => void req.session.regenerate(() => res.send('renewed')))
    },
  }
}

/** Runs `story` on express-session and on ours. */
async function onBoth(story: (running: Running, app: ReturnType<typeof waiting>) => Promise<unknown>) {
  const outcomes: unknown[] = []
  for (const start of [there, here]) {
    const app = waiting()
    const running = await start(app.build)
    try {
      outcomes.push(await story(running, app))
    } finally {
      await running.close()
    }
  }
  const [before, now] = outcomes
  return { before, now }
}

test('two requests at once keep what each of them changed', async () => {
  const { before, now } = await onBoth(async (running, { entered, leave }) => {
    const browser = running.browser()
    await browser.get('/set/first')
    await browser.get('/set/gone')
    const slow = browser.copy().get('/slow/a')
    await entered
    await browser.get('/set/b')
    await browser.get('/remove/gone')
    leave()
    await slow
    return JSON.parse((await browser.get('/read')).body)
  })
  assert.deepEqual(before, { first: 'quick', gone: 'quick', a: 'slow' }, 'express-session loses updates')
  assert.deepEqual(now, { first: 'quick', a: 'slow', b: 'quick' })
})

test('of two requests that change the same key the last one counts, as there', async () => {
  const { before, now } = await onBoth(async (running, { entered, leave }) => {
    const browser = running.browser()
    await browser.get('/set/first')
    const slow = browser.copy().get('/slow/a')
    await entered
    await browser.get('/set/a')
    leave()
    await slow
    return JSON.parse((await browser.get('/read')).body)
  })
  assert.deepEqual(before, { first: 'quick', a: 'slow' })
  assert.deepEqual(now, before)
})

for (const end of ['/destroy', '/renew']) {
  test(`a slow request does not bring back what ${end} ended`, async () => {
    const { before, now } = await onBoth(async (running, { entered, leave }) => {
      const browser = running.browser()
      await browser.get('/set/secret')
      const old = browser.copy()
      const slow = old.copy().get('/slow/a')
      await entered
      await browser.get(end)
      leave()
      const { status } = await slow
      return { status, data: JSON.parse((await old.get('/read')).body) }
    })
    assert.deepEqual(before, { status: 200, data: { secret: 'quick', a: 'slow' } }, 'express-session revives it')
    assert.deepEqual(now, { status: 401, data: {} })
  })
}

test('many requests at once lose nothing', async () => {
  const running = await here(waiting().build)
  try {
    const browser = running.browser()
    await browser.get('/set/first')
    const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
    await Promise.all(keys.map((key) => browser.copy().get(`/set/${key}`)))
    const data = JSON.parse((await browser.get('/read')).body)
    assert.deepEqual(Object.keys(data).toSorted(), ['first', ...keys].toSorted())
  } finally {
    await running.close()
  }
})

/** Passport as its own guide sets it up. */
function withPassport(app: Express): void {
  const authenticator = new passport.Passport()
  authenticator.use(new Strategy((name, password, done) => done(null, password === 'tea' ? { id: name } : false)))
  authenticator.serializeUser((user, done) => done(null, (user as { id: string }).id))
  authenticator.deserializeUser((id: string, done) => done(null, { id }))
  app.use(authenticator.session() as express.RequestHandler)
  const read = (req: express.Request) => ({
    user: (req.user as { id: string } | undefined)?.id ?? null,
    cart: req.session.cart ?? null,
  })
  app.get('/', (req, res) => void res.json(read(req)))
  app.get('/cart/:item', (req, res) => {
    req.session.cart = { ...req.session.cart, [req.params.item]: true }
    res.json(read(req))
  })
  app.post(
    '/login',
    express.json(),
    authenticator.authenticate('local', { keepSessionInfo: true }) as express.RequestHandler,
    (req, res) => void res.json(read(req)),
  )
  app.get('/login/:name', (req, res, next) => {
    req.login({ id: req.params.name }, (error: unknown) =>
      error ? next(error) : res.json({ ...read(req), id: req.session.id }),
    )
  })
  app.get('/logout', (req, res, next) => {
    req.logout((error: unknown) => (error ? next(error) : res.json(read(req))))
  })
}

test('Passport signs in and out as before', async () => {
  for (const start of [there, here]) {
    const running = await start(withPassport)
    try {
      const browser = running.browser()
      const body = async (path: string) => JSON.parse((await browser.get(path)).body)
      assert.deepEqual(await body('/cart/tea'), { user: null, cart: { tea: true } })
      const guest = browser.copy()
      const cookie = `connect.sid=${browser.cookie}`
      const login = (password: string) =>
        fetch(`${running.url}/login`, {
          method: 'POST',
          headers: { cookie, 'content-type': 'application/json' },
          body: JSON.stringify({ username: 'ada', password }),
        })
      assert.equal((await login('wrong')).status, 401)
      const signedIn = await login('tea')
      assert.deepEqual(await signedIn.json(), { user: 'ada', cart: { tea: true } })
      browser.cookie = /connect\.sid=([^;]+)/.exec(signedIn.headers.getSetCookie()[0]!)![1]!
      assert.deepEqual(await body('/'), { user: 'ada', cart: { tea: true } })
      assert.deepEqual(
        JSON.parse((await guest.get('/')).body),
        { user: null, cart: null },
        'the guest’s cookie is dead',
      )
      const before = browser.copy()
      assert.deepEqual(await body('/logout'), { user: null, cart: null })
      assert.deepEqual(await body('/'), { user: null, cart: null })
      assert.deepEqual(JSON.parse((await before.get('/')).body), { user: null, cart: null })
    } finally {
      await running.close()
    }
  }
})

test('who signs in by Passport is known to Holdfast, and can be signed out everywhere', async () => {
  const middleware = holdfastSession({ store: memoryStore(), feed: memoryFeed(), saveUninitialized: false })
  const { sessions } = middleware
  const running = await run(withPassport, middleware)
  try {
    const [phone, laptop] = [running.browser(), running.browser()]
    const { id } = JSON.parse((await phone.get('/login/ada')).body)
    await laptop.get('/login/ada', {
      'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    })
    const listed = await sessions.list('ada', { current: id })
    assert.equal(listed.filter(({ current }) => current).length, 1)
    assert.ok(listed.some(({ device }) => device.label.startsWith('Firefox')))
    assert.equal(await sessions.endUser('ada', { except: id }), 1)
    assert.equal(JSON.parse((await laptop.get('/')).body).user, null)
    assert.equal(JSON.parse((await phone.get('/')).body).user, 'ada')
    await phone.get('/logout')
    assert.deepEqual(await sessions.list('ada'), [])
  } finally {
    sessions.close()
    await running.close()
  }
})

function signingIn(app: Express): void {
  app.get('/as/:name', (req, res) => {
    req.session.user = req.params.name
    res.send(req.session.id)
  })
  app.get('/nobody', (req, res) => {
    delete req.session.user
    res.send('')
  })
  app.get('/late/:name', (req, res) => {
    res.write('too ')
    req.session.user = req.params.name
    res.end('late')
  })
  app.get('/', (req, res) => void res.send(`${req.session.user} ${req.session.views}`))
  app.get('/view', (req, res) => {
    req.session.views = 1
    res.send(req.session.id)
  })
}

const userOf: ExpressSessionOptions['userOf'] = ({ user }) => user ?? null

test('a user who signs in without regenerate() gets a new id, and the old one is dead', async () => {
  const outcomes: unknown[] = []
  for (const start of [there, (build: typeof signingIn) => here(build, { userOf })]) {
    const running = await start(signingIn)
    try {
      const [browser, attacker] = [running.browser(), running.browser()]
      await attacker.get('/view')
      browser.cookie = attacker.cookie
      await browser.get('/as/ada')
      outcomes.push({ own: (await browser.get('/')).body, planted: (await attacker.get('/')).body })
    } finally {
      await running.close()
    }
  }
  assert.deepEqual(outcomes, [
    { own: 'ada 1', planted: 'ada 1' },
    { own: 'ada 1', planted: 'undefined undefined' },
  ])
})

test('a session whose user goes is nobody’s, under a new id', async () => {
  const store = memoryStore()
  const running = await here(signingIn, { store, userOf })
  const sessions = createSessions({ store })
  try {
    const browser = running.browser()
    await browser.get('/view')
    await browser.get('/as/ada')
    assert.equal((await sessions.list('ada')).length, 1)
    const before = browser.copy()
    await browser.get('/nobody')
    assert.equal((await browser.get('/')).body, 'undefined 1')
    assert.equal((await before.get('/')).body, 'undefined undefined')
    assert.equal((await sessions.list('ada')).length, 0)
    await browser.get('/as/ada')
    await browser.get('/as/bob')
    assert.equal((await browser.get('/')).body, 'bob undefined', 'nothing of another user is taken along')
  } finally {
    await running.close()
  }
})

test('a sign-in whose cookie can’t be sent any more changes nothing', async () => {
  const running = await here(signingIn, { userOf })
  try {
    const browser = running.browser()
    await browser.get('/view')
    assert.equal((await browser.get('/late/ada')).body, 'too late')
    assert.equal((await browser.get('/')).body, 'undefined 1')
  } finally {
    await running.close()
  }
})

/** A store that can be switched off. */
function breakable(): { store: Store; fail: (what: 'get' | 'put' | null) => void } {
  const store = memoryStore()
  let broken: string | null = null
  const unless = (what: string) => (broken === what ? Promise.reject(new Error('down')) : null)
  return {
    store: {
      ...store,
      get: (id, o) => unless('get') ?? store.get(id, o),
      put: (record, expected, o) => unless('put') ?? store.put(record, expected, o),
    },
    fail: (what) => (broken = what),
  }
}

test('a change that was not stored is not answered as if it had been', async () => {
  const { store, fail } = breakable()
  const running = await here(
    (app) => {
      app.get('/count', (req, res) => {
        req.session.views = (req.session.views ?? 0) + 1
        res.set('etag', '"x"').status(201).send(`${req.session.views}`)
      })
      app.get('/asked', (req, res) => {
        req.session.views = 50
        req.session.save((error) =>
          res.status(507).send(error instanceof StoreUnavailableError ? 'not saved' : 'saved'),
        )
      })
      app.get('/unasked', (req, res) => {
        req.session.views = 60
        req.session.save()
        res.send('saved')
      })
      app.get('/circular', (req, res) => {
        const cart: Record<string, unknown> = {}
        req.session.cart = Object.assign(cart, { cart })
        res.send('saved')
      })
      app.get('/twice', (req, res) => {
        req.session.views = 70
        res.set('x-first', '1').send('first')
        res.status(500).set('x-second', '2').send('second')
      })
    },
    { store },
  )
  try {
    const browser = running.browser()
    assert.deepEqual(await browser.get('/count'), { status: 201, body: '1', cookie: 'Path=/; HttpOnly; SameSite=Lax' })
    fail('put')
    const failed = await fetch(`${running.url}/count`, { headers: { cookie: `connect.sid=${browser.cookie}` } })
    assert.deepEqual(
      [failed.status, await failed.text(), failed.headers.get('etag') === '"x"'],
      [503, 'failed: store-unavailable', false],
    )
    assert.equal((await browser.get('/asked')).body, 'not saved', 'the application was told, and answers itself')
    assert.equal((await browser.get('/unasked')).status, 503)
    fail('get')
    assert.equal((await browser.get('/count')).status, 503)
    fail(null)
    assert.match((await browser.get('/circular')).body, /^failed: .*circular/i)
    // The circuit of the store is open for a moment.
    while ((await browser.get('/count')).status !== 201);
    const twice = await fetch(`${running.url}/twice`, { headers: { cookie: `connect.sid=${browser.cookie}` } })
    assert.deepEqual([twice.status, await twice.text(), twice.headers.get('x-second')], [200, 'first', null])
  } finally {
    await running.close()
  }
})

test('a sign-out without a callback is complete when it is answered, or is an error', async () => {
  const store = memoryStore()
  let isBroken = true
  const slowly = async () => {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate)
    if (isBroken) throw new Error('down')
  }
  const build = (app: Express) => {
    signingIn(app)
    app.get('/out', (req, res) => {
      // As many applications do, though its types want a callback.
      ;(req.session.destroy as unknown as () => void)()
      res.send('bye')
    })
  }
  const running = await here(build, {
    store: { ...store, delete: async (ids) => (await slowly(), store.delete(ids)) },
  })
  try {
    const browser = running.browser()
    await browser.get('/view')
    assert.equal((await browser.get('/out')).status, 503)
    isBroken = false
    assert.deepEqual(await browser.get('/out'), { status: 200, body: 'bye', cookie: null })
    assert.equal((await browser.get('/')).body, 'undefined undefined')
  } finally {
    await running.close()
  }
})

test('a write whose answer was lost counts as what it was', async () => {
  const store = memoryStore()
  let lost = 0
  const running = await here(signingIn, {
    cookie: { maxAge: 60_000 },
    store: {
      ...store,
      async put(record, expected) {
        await store.put(record, expected)
        if (lost++ % 2 === 0) throw new Error('connection reset')
        return true
      },
    },
  })
  try {
    const browser = running.browser()
    assert.equal((await browser.get('/view')).status, 200)
    assert.equal((await browser.get('/')).body, 'undefined 1')
    assert.equal(lost, 1)
  } finally {
    await running.close()
  }
})

test('a new cookie arrives although what came after failed', async () => {
  const store = memoryStore()
  let [puts, isBroken] = [0, true]
  const running = await here(signingIn, {
    userOf,
    store: {
      ...store,
      // The guest's session, the user's, the end of the guest's; then the user's data.
      put: (record, expected) =>
        ++puts >= 4 && isBroken ? Promise.reject(new Error('down')) : store.put(record, expected),
    },
  })
  try {
    const browser = running.browser()
    await browser.get('/view')
    const guest = browser.copy()
    assert.equal((await browser.get('/as/ada')).status, 503)
    isBroken = false
    assert.equal((await guest.get('/')).body, 'undefined undefined')
    assert.equal((await browser.get('/')).body, 'undefined 1')
  } finally {
    await running.close()
  }
})

test('a save without a callback is one write', async () => {
  const store = memoryStore()
  let puts = 0
  const running = await here(
    (app) => {
      app.get('/save', (req, res) => {
        req.session.views = (req.session.views ?? 0) + 1
        req.session.save()
        res.redirect('/')
      })
    },
    { store: { ...store, put: (...args) => (puts++, store.put(...args)) } },
  )
  try {
    const browser = running.browser()
    await browser.get('/save')
    await browser.get('/save')
    assert.equal(puts, 2)
  } finally {
    await running.close()
  }
})

test('a response that depends on a session is kept by no cache, unless the application says otherwise', async () => {
  const running = await here((app) => {
    app.get('/count', (req, res) => {
      req.session.views = 1
      res.send('')
    })
    app.get('/read', (_req, res) => void res.send(''))
    app.get('/own', (_req, res) => void res.set('cache-control', 'private').send(''))
  })
  try {
    const control = async (path: string, cookie = '') => {
      const { headers } = await fetch(running.url + path, { headers: { cookie } })
      return [headers.get('cache-control'), headers.getSetCookie()[0]?.split(';')[0] ?? ''] as const
    }
    const [first, cookie] = await control('/count')
    const others = [await control('/read'), await control('/read', cookie), await control('/own', cookie)]
    assert.deepEqual([first, ...others.map(([value]) => value)], ['no-store', null, 'no-store', 'private'])
  } finally {
    await running.close()
  }
})

test('a session ends when lifetime.absolute says so, however often it is used', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
  const running = await here(signingIn, { lifetime: { idle: '1h', absolute: '2h' } })
  try {
    const browser = running.browser()
    await browser.get('/view')
    const views: string[] = []
    for (let i = 0; i < 3; i++) {
      t.mock.timers.tick(45 * 60_000)
      views.push((await browser.get('/')).body)
    }
    assert.deepEqual(views, ['undefined 1', 'undefined 1', 'undefined undefined'])
    await browser.get('/view')
    t.mock.timers.tick(61 * 60_000)
    assert.equal((await browser.get('/')).body, 'undefined undefined')
  } finally {
    await running.close()
  }
})

test('cookies of express-session open the sessions that came over, and only with their signature', async () => {
  const { asExpressStore } = await import('holdfast/compat/express-store')
  const store = memoryStore()
  const before = await run(
    signingIn,
    session({ store: asExpressStore(store), secret: ['old', 'older'], resave: false, saveUninitialized: false }),
  )
  const browser = before.browser()
  await browser.get('/view')
  const old = browser.cookie!
  await before.close()
  const now = await here(signingIn, { store, userOf, secret: ['new', 'old'] })
  const later = await here(signingIn, { store, userOf, secret: undefined })
  try {
    const moved = now.browser()
    moved.cookie = old
    assert.deepEqual(await moved.get('/'), { status: 200, body: 'undefined 1', cookie: null })
    const { body: id } = await moved.get('/view')

    const [sid] = decodeURIComponent(old).slice(2).split('.')
    const [record] = (await store.scan({ limit: 1 })).records
    assert.equal(record!.id, id)
    for (const forged of [
      `s%3A${sid}.`,
      `s%3A${sid}`,
      old.slice(0, -1),
      `${old}A`,
      old.replace('s%3A', ''),
      sid!,
      `express-session:${sid}`,
      record!.credential,
      // What anybody can make of the id.
      ...[sid!, `express-session:${sid}`, `express-session secret:${sid}`].map(
        (text) => `${id}.${hash('sha256', text, 'base64url')}`,
      ),
    ]) {
      const attacker = now.browser()
      attacker.cookie = forged
      assert.equal((await attacker.get('/')).body, 'undefined undefined', forged)
    }
    const without = later.browser()
    without.cookie = old
    assert.equal((await without.get('/')).body, 'undefined undefined')

    await moved.get('/as/ada')
    assert.match(moved.cookie, /^[\w-]{22}\.[\w-]{43}$/)
    const afterwards = later.browser()
    afterwards.cookie = moved.cookie
    assert.equal((await afterwards.get('/')).body, 'ada 1', 'new cookies need no secret')
    const still = now.browser()
    still.cookie = old
    assert.equal(
      (await still.get('/')).body,
      'undefined undefined',
      'who signs in gets a new cookie; the old one is dead',
    )
  } finally {
    await Promise.all([now.close(), later.close()])
  }
})

test('an old cookie that is sent anew is the same, so that the application can go back', async () => {
  const { asExpressStore } = await import('holdfast/compat/express-store')
  const store = memoryStore()
  const middleware = session({ store: asExpressStore(store), secret, resave: false, saveUninitialized: false })
  const before = await run(signingIn, middleware)
  const now = await here(signingIn, { store, secret, rolling: true, cookie: { maxAge: 60_000 } })
  try {
    const browser = before.browser()
    await browser.get('/view')
    const moved = now.browser()
    moved.cookie = browser.cookie
    assert.match((await moved.get('/')).cookie!, /^Path=\//)
    assert.equal(moved.cookie, browser.cookie)
    const back = before.browser()
    back.cookie = moved.cookie
    assert.equal((await back.get('/')).body, 'undefined 1')
  } finally {
    await Promise.all([before.close(), now.close()])
  }
})

test('options that would weaken it are refused, each by its name', () => {
  const store = memoryStore()
  const refused: readonly [RegExp, object][] = [
    [/^store: required/, {}],
    [/^store: this is one of express-session/, { store: new session.MemoryStore() }],
    [/^genid:/, { store, genid: () => '1' }],
    [/^cookie\.httpOnly:/, { store, cookie: { httpOnly: false } }],
    [/^cookie\.maxAge: longer than lifetime\.absolute/, { store, cookie: { maxAge: 31 * 86_400_000 } }],
    [/^cookie\.path:/, { store, cookie: { path: '/; Domain=x' } }],
    [/^unset:/, { store, unset: 'forget' }],
    [/^secret:/, { store, secret: [] }],
    [/^cookie name:/, { store, name: 'a b' }],
    [/^lifetime\.idle:/, { store, lifetime: { idle: 'soon', absolute: '1d' } }],
  ]
  for (const [message, o] of refused) {
    assert.throws(
      () => holdfastSession(o as ExpressSessionOptions),
      (error) => error instanceof ConfigError && message.test(error.message),
    )
  }
})

test('applications in CommonJS change one line too', () => {
  assert.equal(createRequire(import.meta.url)('holdfast/compat/express-session'), holdfastSession)
})

test('over HTTPS the cookie is Secure, whatever the application says', async () => {
  const running = await here(signingIn, { proxy: true, cookie: { secure: false } })
  try {
    const { cookie } = await running.browser().get('/view', { 'x-forwarded-proto': 'https' })
    assert.equal(cookie, 'Path=/; HttpOnly; Secure; SameSite=Lax')
  } finally {
    await running.close()
  }
})

test('what happens is told, and holds no secret', async () => {
  const events: SessionEvent[] = []
  const running = await here(signingIn, { userOf, secret, onEvent: (event) => events.push(event) })
  try {
    const browser = running.browser()
    await browser.get('/as/ada')
    await browser.get('/nobody')
    assert.deepEqual(
      events.map(({ type }) => type),
      ['started', 'signed-in', 'ended', 'started'],
    )
    assert.ok(!JSON.stringify(events).includes(browser.cookie!.split('.')[1]!))
  } finally {
    await running.close()
  }
})
