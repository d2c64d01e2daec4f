// What express-session does, its replacement does: each line runs the same application on both and compares all that a browser sees.
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import type { Express, Request } from 'express'
import type { SessionOptions } from 'express-session'
import type { ExpressSessionOptions } from 'holdfast/compat/express-session'
import { here, there, type Browser, type Running, type Seen } from './apps.ts'

/** The application of most lines. */
function counting(app: Express): void {
  const seen = (req: Request) => JSON.stringify({ views: req.session.views ?? null, keys: Object.keys(req.session) })
  app.get('/read', (req, res) => void res.send(seen(req)))
  app.get('/count', (req, res) => {
    req.session.views = (req.session.views ?? 0) + 1
    res.send(seen(req))
  })
  app.get('/add/:key', (req, res) => {
    ;(req.session.cart ??= {})[req.params.key] = true
    res.send(JSON.stringify(req.session.cart))
  })
  app.get('/remove', (req, res) => {
    delete req.session.views
    res.send(seen(req))
  })
  app.get('/regenerate', (req, res) => {
    const { id } = req.session
    req.session.regenerate((error) => {
      res.send(
        JSON.stringify({
          error: error ?? null,
          isNew: id !== req.session.id,
          same: req.session.id === req.sessionID,
          seen: seen(req),
        }),
      )
    })
  })
  app.get('/regenerate-and-count', (req, res) => {
    req.session.regenerate(() => {
      req.session.views = 100
      req.session.save((error) => res.send(String(error ?? 'saved')))
    })
  })
  app.get('/destroy', (req, res) => {
    req.session.destroy((error) => res.send(JSON.stringify({ error: error ?? null, session: req.session ?? null })))
  })
  app.get('/reload', (req, res) => {
    req.session.views = 1000
    req.session.reload((error) => res.send(error ? error.message : seen(req)))
  })
  app.get('/save', (req, res) => {
    req.session.views = 7
    req.session.save((error) => {
      req.session.views = 8
      res.send(String(error ?? 'saved'))
    })
  })
  app.get('/save-only', (req, res) => {
    req.session.save((error) => res.send(String(error ?? 'saved')))
  })
  app.get('/touch', (req, res) => void res.send(String(req.session.touch() === req.session)))
  app.get('/max-age/:ms', (req, res) => {
    req.session.cookie.maxAge = Number(req.params.ms)
    req.session.views = 1
    res.send(JSON.stringify(req.session.cookie.originalMaxAge))
  })
  app.get('/max-age-only/:ms', (req, res) => {
    req.session.cookie.maxAge = Number(req.params.ms)
    res.send('')
  })
  app.get('/as-long-as-the-browser', (req, res) => {
    req.session.cookie.expires = false as never
    req.session.views = 1
    res.send('')
  })
  app.get('/cookie', (req, res) => {
    const { maxAge, originalMaxAge, expires, path, httpOnly } = req.session.cookie
    res.send(JSON.stringify({ maxAge, originalMaxAge, expires, path, httpOnly }))
  })
  app.get('/null', (req, res) => {
    req.session = null as never
    res.send('')
  })
  app.get('/stream', (req, res) => {
    req.session.views = (req.session.views ?? 0) + 1
    res.write('a')
    res.write('b')
    res.end('c')
  })
  app.get('/late', (req, res) => {
    res.write('a')
    req.session.views = 50
    res.end()
  })
  app.get('/head', (req, res) => {
    req.session.views = 1
    res.cookie('own', '1')
    res.writeHead(201, { 'x-own': 'yes', 'set-cookie': 'other=2' })
    res.end(`${res.headersSent}`)
  })
  app.get('/redirect', (req, res) => {
    req.session.views = 1
    res.redirect('/read')
  })
  app.get('/json', (req, res) => {
    req.session.views = 1
    res.json(JSON.parse(JSON.stringify(req.session)))
  })
  app.get('/odd-keys', (req, res) => {
    Object.assign(req.session, JSON.parse('{"save2":1,"a.b":{"c":[1,null]},"":0}'))
    res.send('')
  })
  app.get('/throw', (req) => {
    req.session.views = 99
    throw new Error('broken')
  })
  app.get('/circular', (req, res) => {
    req.session.cart = { self: req.session }
    req.session.cart['self'] = req.session.cart
    res.send('')
  })
}

type Visit = (browser: Browser, running: Running) => Promise<readonly unknown[]>

interface Behaviour {
  readonly o?: Partial<SessionOptions> & Partial<Pick<ExpressSessionOptions, 'cookie'>>
  readonly visit: Visit
  /** What ours does on purpose instead. */
  readonly differs?: readonly unknown[]
}

function paths(...all: string[]): Visit {
  return async (browser) => {
    const seen: Seen[] = []
    for (const path of all) seen.push(await browser.get(path))
    return seen
  }
}

const minute = 60_000

const behaviours: Record<string, Behaviour> = {
  'a visit begins nothing': { visit: paths('/read', '/read') },
  'a visit begins a session with saveUninitialized': {
    o: { saveUninitialized: true },
    visit: paths('/read', '/read', '/count', '/read'),
  },
  'data is kept': { visit: paths('/count', '/count', '/read', '/add/tea', '/add/jam', '/read') },
  'a key goes': { visit: paths('/count', '/remove', '/read') },
  'data of any form is kept': { visit: paths('/odd-keys', '/read', '/json') },
  'resave, rolling': { o: { resave: true, rolling: true }, visit: paths('/count', '/read', '/count', '/read') },
  'a cookie with maxAge is sent anew when something changed': {
    o: { cookie: { maxAge: minute } },
    visit: paths('/count', '/read', '/count', '/read'),
  },
  'a rolling cookie is sent each time': {
    o: { rolling: true, cookie: { maxAge: minute } },
    visit: paths('/read', '/count', '/read', '/read'),
  },
  'a session expires when it is not used': {
    o: { cookie: { maxAge: minute } },
    async visit(browser) {
      const seen: unknown[] = [await browser.get('/count')]
      for (const after of [50_000, 50_000, 61_000]) {
        mock.timers.tick(after)
        seen.push(await browser.get('/read'))
      }
      return seen
    },
  },
  'maxAge of one session': {
    async visit(browser) {
      const seen: unknown[] = [await browser.get('/max-age/5000'), await browser.get('/cookie')]
      mock.timers.tick(4000)
      seen.push(await browser.get('/cookie'))
      mock.timers.tick(4900)
      seen.push(await browser.get('/cookie'), await browser.get('/count'))
      mock.timers.tick(5001)
      seen.push(await browser.get('/read'))
      return seen
    },
  },
  'maxAge of one session, without any other change': {
    async visit(browser) {
      const seen: unknown[] = [
        await browser.get('/count'),
        await browser.get('/max-age-only/5000'),
        await browser.get('/cookie'),
      ]
      mock.timers.tick(5001)
      seen.push(await browser.get('/read'))
      return seen
    },
  },
  'maxAge of 30 days': {
    o: { cookie: { maxAge: minute } },
    async visit(browser) {
      const seen: unknown[] = [await browser.get(`/max-age/${29 * 24 * 60 * minute}`)]
      mock.timers.tick(28 * 24 * 60 * minute)
      seen.push(await browser.get('/read'), await browser.get('/cookie'))
      return seen
    },
  },
  'a session that lives as long as the browser': {
    o: { cookie: { maxAge: minute } },
    visit: paths('/as-long-as-the-browser', '/cookie', '/count'),
  },
  'maxAge that has passed': { visit: paths('/count', '/max-age/-1', '/read') },
  touch: { o: { cookie: { maxAge: minute } }, visit: paths('/count', '/touch', '/read') },
  regenerate: { visit: paths('/count', '/regenerate', '/read', '/count') },
  'regenerate, with nothing before': { visit: paths('/regenerate', '/read') },
  'regenerate and save': { visit: paths('/count', '/regenerate-and-count', '/read') },
  'the old cookie is dead after regenerate': {
    async visit(browser) {
      await browser.get('/count')
      const old = browser.copy()
      await browser.get('/regenerate-and-count')
      return [await old.get('/read'), await old.get('/count'), await browser.get('/read')]
    },
  },
  destroy: { visit: paths('/count', '/destroy', '/read', '/count') },
  'destroy, with nothing before': { visit: paths('/destroy', '/read') },
  'the old cookie is dead after destroy': {
    async visit(browser) {
      await browser.get('/count')
      const old = browser.copy()
      await browser.get('/destroy')
      return [await old.get('/read'), await old.get('/count')]
    },
  },
  reload: { visit: paths('/count', '/reload', '/read') },
  'reload, with nothing stored': { visit: paths('/reload', '/read') },
  save: { visit: paths('/save', '/read') },
  'save of nothing': { visit: paths('/save-only', '/read') },
  'unset: keep': { visit: paths('/count', '/null', '/read') },
  'unset: destroy': { o: { unset: 'destroy' }, visit: paths('/count', '/null', '/read') },
  'unset: destroy, with nothing before': { o: { unset: 'destroy' }, visit: paths('/null', '/read') },
  'a body in parts': { visit: paths('/stream', '/stream', '/read') },
  'a change after the headers': { o: { saveUninitialized: true }, visit: paths('/late', '/read', '/late', '/read') },
  'writeHead, with cookies of its own': { visit: paths('/head', '/read') },
  redirect: { visit: paths('/redirect', '/read') },
  'the JSON of a session': { o: { cookie: { maxAge: minute } }, visit: paths('/json') },
  'a handler that fails': { visit: paths('/count', '/throw', '/read') },
  'a cookie that was made up': {
    async visit(browser) {
      const seen: unknown[] = []
      for (const cookie of [
        's%3Amade-up.signature',
        's:',
        'nonsense',
        'a.b',
        '%',
        `${'A'.repeat(22)}.${'A'.repeat(43)}`,
      ]) {
        browser.cookie = cookie
        seen.push(await browser.get('/read'))
      }
      seen.push(await browser.get('/count'), browser.cookie?.startsWith('s%3Amade-up'))
      return seen
    },
  },
  'another path has no session': {
    o: { cookie: { path: '/read' } },
    async visit(browser) {
      return [await browser.get('/destroy'), await browser.get('/read')]
    },
    // Both fail, in different words of V8's.
  },
  'a secure cookie is not sent over HTTP': { o: { cookie: { secure: true } }, visit: paths('/count', '/read') },
  'behind a proxy': {
    o: {
      proxy: true,
      cookie: { secure: 'auto', path: '/', domain: 'shop.example', priority: 'high', partitioned: true } as never,
    },
    async visit(browser) {
      const https = { 'x-forwarded-proto': 'https, http' }
      return [await browser.get('/count', https), await browser.get('/count'), await browser.get('/read', https)]
    },
  },
  'sameSite: auto': {
    o: { proxy: true, cookie: { secure: 'auto', sameSite: 'auto' } as never },
    async visit(browser) {
      return [await browser.get('/count', { 'x-forwarded-proto': 'https' }), await browser.get('/read')]
    },
  },
  'sameSite: true': { o: { cookie: { sameSite: true } }, visit: paths('/count') },
}

for (const [what, { o = {}, visit }] of Object.entries(behaviours)) {
  test(`as express-session: ${what}`, async () => {
    const seen: (readonly unknown[])[] = []
    for (const start of [there, here]) {
      mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
      const running = await start(counting, o as never)
      try {
        seen.push((await visit(running.browser(), running)).map(withoutLax))
      } finally {
        mock.timers.reset()
        await running.close()
      }
    }
    assert.deepEqual(seen[1], seen[0])
  })
}

/** Ours says what browsers take for granted. */
function withoutLax(seen: unknown): unknown {
  if (typeof seen !== 'object' || seen === null || !('cookie' in seen)) return seen
  return { ...seen, cookie: (seen as Seen).cookie?.replace('; SameSite=Lax', '') ?? null }
}
