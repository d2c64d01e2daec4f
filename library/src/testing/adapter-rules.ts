// What every adapter owes, rule by rule.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createSessions, type Sessions, type SessionsOptions } from '../index.ts'
import { memoryStore } from '../stores/memory.ts'
import { bearerTransport } from '../transport/bearer.ts'
import { cookieTransport } from '../transport/cookie.ts'
import { application, failing, type Weather } from './adapter-application.ts'
import { Browser, send, type Reply } from './adapter-client.ts'
import type { ServeAdapter } from './adapter.ts'

/** The contract's application behind the adapter, and a way to take its store down. */
interface Site extends Weather {
  readonly url: string
  readonly sessions: Sessions<Record<string, unknown>>
  /** Paths that reached the application. */
  readonly handled: string[]
  browser(): Browser
}

const rules: Record<string, (site: Site) => Promise<void>> = {
  async 'an anonymous request is served, and gets no header of a session'({ browser }) {
    const reply = await browser().get('/who')
    assert.equal(reply.status, 200)
    assert.deepEqual(who(reply), { id: null, userId: null, refused: null })
    for (const name of ['set-cookie', 'cache-control']) assert.equal(reply.header(name), null, name)
    // A framework may vary by headers of its own.
    for (const name of ['cookie', 'authorization']) assert.ok(!listed(reply, 'vary').includes(name), name)
  },

  async "a guest's session begins with the first change, and the cookie opens it again"({ browser }) {
    const guest = browser()
    assert.equal((await guest.post('/cart', 'tea')).text, '["tea"]')
    assert.equal((await guest.post('/cart', 'jam')).text, '["tea","jam"]')
    const { id, userId } = who(await guest.get('/who'))
    assert.notEqual(id, null)
    assert.equal(userId, null)
  },

  async 'a sign-in hands out the cookie as promised, in an answer that no cache keeps'({ browser }) {
    const reply = await browser().post('/sign-in', 'ada')
    assert.equal(reply.status, 200)
    assert.equal(reply.all('set-cookie').length, 1)
    assert.match(
      reply.all('set-cookie')[0]!,
      /^__Host-session=[\w-]{22}\.[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax$/,
    )
    dependsOn(reply, 'cookie')
  },

  async 'the user is known in the next request, in an answer that no cache keeps, without another cookie'({ browser }) {
    const ada = browser()
    const { id } = who(await ada.post('/sign-in', 'ada'))
    const reply = await ada.get('/who')
    assert.deepEqual(who(reply), { id, userId: 'ada', refused: null })
    assert.deepEqual(reply.all('set-cookie'), [])
    dependsOn(reply, 'cookie')
  },

  async 'the cart of a guest is kept through sign-in'({ browser }) {
    const guest = browser()
    await guest.post('/cart', 'tea')
    await guest.post('/sign-in', 'ada')
    assert.equal((await guest.post('/cart', 'jam')).text, '["tea","jam"]')
  },

  async 'a sign-out takes the cookie away, and a captured one opens nothing'({ browser }) {
    const ada = browser()
    await ada.post('/sign-in', 'ada')
    const thief = ada.copy()
    const reply = await ada.post('/sign-out')
    assert.equal(reply.status, 204)
    assert.deepEqual(reply.all('set-cookie'), ['__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0'])
    assert.equal(ada.cookies.size, 0)
    assert.deepEqual(who(await thief.get('/who')), { id: null, userId: null, refused: 'unknown' })
  },

  async 'however often a request signs in, one cookie is set, and it is the last'({ browser }) {
    const ada = browser()
    const reply = await ada.post('/sign-in-twice', 'ada')
    assert.equal(reply.all('set-cookie').length, 1)
    assert.equal(who(await ada.get('/who')).userId, 'ada')
    assert.equal((await ada.post('/sign-in-and-out', 'bob')).all('set-cookie').length, 1)
    assert.equal(ada.cookies.size, 0)
  },

  async "the application's own cookies and headers stand beside ours"({ browser }) {
    const ada = browser()
    const reply = await ada.post('/sign-in-with-theme', 'ada')
    assert.deepEqual(
      new Set(reply.all('set-cookie').map((line) => line.split('=', 1)[0])),
      new Set(['__Host-session', 'language', 'theme']),
    )
    assert.equal(ada.cookies.get('theme'), 'dark')
    for (const name of ['accept', 'cookie']) assert.ok(listed(reply, 'vary').includes(name), name)
    assert.equal(reply.header('x-own'), 'yes')
  },

  async 'a request that changes something is refused from another site, before the application hears of it'(site) {
    const ada = site.browser()
    await ada.post('/sign-in', 'ada')
    site.handled.length = 0
    for (const headers of [
      [['Sec-Fetch-Site', 'cross-site']],
      [['Sec-Fetch-Site', 'same-site']],
      [['Origin', 'https://evil.example']],
      [['Origin', 'null']],
      [],
    ] as const) {
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
        const reply = await ada.send('/sign-out', { method, headers })
        assert.equal(reply.status, 403, `${method} ${headers.join()}`)
        assert.deepEqual(reply.all('set-cookie'), [])
      }
    }
    const signIn = await site
      .browser()
      .send('/sign-in', { method: 'POST', headers: [['Sec-Fetch-Site', 'cross-site']] })
    assert.equal(signIn.status, 403)
    assert.deepEqual(site.handled, [])
    assert.equal(who(await ada.send('/who', { headers: [['Sec-Fetch-Site', 'cross-site']] })).userId, 'ada')
  },

  async 'a browser without Fetch Metadata is known by its origin'(site) {
    const ada = site.browser()
    const headers = [['Origin', site.url]] as const
    assert.equal((await ada.send('/sign-in', { method: 'POST', headers, body: 'ada' })).status, 200)
    assert.equal((await ada.send('/cart', { method: 'POST', headers, body: 'tea' })).status, 200)
  },

  async 'an origin that matches only one of two hosts is another site'({ sessions, url }) {
    const { token } = await sessions.start('ada')
    const headers = [
      ['Cookie', `__Host-session=${token}`],
      ['Origin', 'http://evil.example'],
      ['Host', 'evil.example'],
    ] as const
    // A server may refuse such a request by itself.
    const { status } = await send(`${url}/cart`, { method: 'POST', headers, body: 'tea' })
    assert.ok(status === 403 || status === 400, String(status))
    assert.equal(who(await send(`${url}/who`, { headers: headers.slice(0, 1) })).userId, 'ada')
  },

  async 'a bearer token opens its session, from any site'({ sessions, url }) {
    const { token } = await sessions.start('ada')
    const headers = [
      ['Authorization', `Bearer ${token}`],
      ['Sec-Fetch-Site', 'cross-site'],
    ] as const
    const reply = await send(`${url}/cart`, { method: 'POST', headers, body: 'tea' })
    assert.equal(reply.status, 200)
    assert.deepEqual(reply.all('set-cookie'), [])
    dependsOn(reply, 'authorization')
    assert.equal(who(await send(`${url}/who`, { headers })).userId, 'ada')
  },

  async 'a token in the path, the query or the body opens nothing'({ sessions, url, browser }) {
    const { token } = await sessions.start('ada')
    for (const query of [`?__Host-session=${token}`, `?access_token=${token}`, `?token=${token}`]) {
      assert.equal(who(await send(`${url}/who${query}`, {})).id, null)
    }
    assert.equal(who(await browser().post('/who', `access_token=${token}`)).id, null)
  },

  async 'two session cookies, in one line or two, are no session'({ sessions, url }) {
    const [ada, bob] = [await sessions.start('ada'), await sessions.start('bob')]
    const pairs = [ada, bob].map(({ token }) => `__Host-session=${token}`)
    for (const lines of [
      [pairs.join('; ')],
      pairs,
      [pairs[0]!, pairs[0]!],
      [`a=1; ${pairs[0]!}`, `${pairs[1]!}; b=2`],
    ]) {
      const reply = await send(`${url}/who`, { headers: lines.map((line) => ['Cookie', line] as const) })
      assert.equal(who(reply).id, null, `${lines.length} lines`)
    }
    const spread = await send(`${url}/who`, {
      headers: [
        ['Cookie', 'a=1'],
        ['Cookie', pairs[0]!],
        ['Cookie', 'b=2'],
      ],
    })
    assert.equal(who(spread).userId, 'ada')
  },

  async 'two Authorization fields are no session'({ sessions, url }) {
    const [ada, bob] = [await sessions.start('ada'), await sessions.start('bob')]
    for (const tokens of [
      [ada.token, bob.token],
      [ada.token, ada.token],
    ]) {
      const headers = tokens.map((token) => ['Authorization', `Bearer ${token}`] as const)
      assert.equal(who(await send(`${url}/who`, { headers })).id, null)
    }
  },

  async 'a cookie and a bearer token together are no session'({ sessions, url }) {
    const { token } = await sessions.start('ada')
    const headers = [
      ['Authorization', `Bearer ${token}`],
      ['Cookie', `__Host-session=${token}`],
    ] as const
    assert.equal(who(await send(`${url}/who`, { headers })).refused, 'duplicate')
  },

  async 'while the store is down the answer is 503 with Retry-After, the cookie is kept, and nobody is let in'(site) {
    const ada = site.browser()
    await ada.post('/sign-in', 'ada')
    site.store = 'down'
    site.handled.length = 0
    for (const reply of [await ada.get('/who'), await ada.post('/sign-out')]) {
      assert.equal(reply.status, 503)
      assert.match(reply.header('retry-after') ?? 'none', /^[1-9]\d*$/)
      assert.deepEqual(reply.all('set-cookie'), [])
    }
    assert.deepEqual(site.handled, [])
    assert.equal((await site.browser().get('/who')).status, 200, 'an anonymous request needs no store')
    site.store = 'up'
    assert.equal(who(await ada.get('/who')).userId, 'ada')
  },

  async 'a store that goes down while the application works is a 503 too'(site) {
    const ada = site.browser()
    await ada.post('/sign-in', 'ada')
    const reply = await ada.post('/cart-in-outage', 'tea')
    assert.equal(reply.status, 503)
    assert.notEqual(reply.header('retry-after'), null)
    assert.deepEqual(reply.all('set-cookie'), [])
  },

  async 'an error of a session has its status, whether it is thrown or rejected'({ browser }) {
    const ada = browser()
    assert.equal((await ada.get('/orders')).status, 401)
    await ada.post('/sign-in', 'ada')
    assert.equal((await ada.get('/orders')).status, 403)
    assert.equal((await ada.post('/too-much')).status, 413)
    assert.equal((await ada.post('/update-after-end')).status, 401)
  },

  async 'what is set before an error is sent with it'({ browser }) {
    const ada = browser()
    const reply = await ada.post('/sign-in-then-fail', 'ada')
    assert.equal(reply.status, 403)
    assert.equal(reply.all('set-cookie').length, 1)
    dependsOn(reply, 'cookie')
    assert.equal(who(await ada.get('/who')).userId, 'ada')
  },

  async 'every request looks again: what ended or changed elsewhere is seen by the next one'({ browser, sessions }) {
    const ada = browser()
    const { id } = who(await ada.post('/sign-in', 'ada'))
    assert.equal((await ada.get('/orders')).status, 403)
    await sessions.setRoles('ada', ['clerk'])
    assert.equal((await ada.get('/orders')).status, 200)
    await sessions.end(id!)
    assert.equal(who(await ada.get('/who')).userId, null)
  },

  async 'requests at the same time never see each other’s user, in whatever order they are answered'({ browser }) {
    const users = ['ada', 'bob', 'cyd', null]
    const browsers = await Promise.all(users.map((userId) => signedIn(browser(), userId)))
    const visits = fc.array(fc.record({ who: fc.nat(users.length - 1), turns: fc.nat(20) }), {
      minLength: 2,
      maxLength: 12,
    })
    await fc.assert(
      fc.asyncProperty(visits, async (all) => {
        const replies = await Promise.all(all.map(({ who, turns }) => browsers[who]!.get(`/who-after/${turns}`)))
        assert.deepEqual(
          replies.map((reply) => who(reply).userId),
          all.map((visit) => users[visit.who]),
        )
      }),
      { numRuns: 10 },
    )
    const inParallel = await Promise.all(users.map(async (userId) => (await signedIn(browser(), userId)).get('/who')))
    assert.deepEqual(
      inParallel.map((reply) => who(reply).userId),
      users,
    )
  },
}

/** Each rule with a site of its own. */
export const adapterRules: Record<string, (serve: ServeAdapter) => Promise<void>> = Object.fromEntries(
  Object.entries(rules).map(([name, check]) => [name, (serve: ServeAdapter) => onSite(serve, check)]),
)

async function onSite(serve: ServeAdapter, check: (site: Site) => Promise<void>): Promise<void> {
  const site: Weather = { store: 'up' }
  const sessions = createSessions({
    store: failing(memoryStore(), site),
    transport: [cookieTransport(), bearerTransport()],
    roles: { clerk: ['orders:read'] },
  } satisfies SessionsOptions<never>) as Sessions<Record<string, unknown>>
  const handled: string[] = []
  const { url, close } = await serve(sessions, (session, request) => {
    handled.push(request.path)
    return application(session, request, site)
  })
  try {
    await check(Object.assign(site, { url, sessions, handled, browser: () => new Browser(url) }))
  } finally {
    await close()
  }
}

function who(reply: Reply): { id: string | null; userId: string | null; refused: string | null } {
  assert.equal(reply.status, 200, reply.text)
  return JSON.parse(reply.text) as ReturnType<typeof who>
}

async function signedIn(browser: Browser, userId: string | null): Promise<Browser> {
  if (userId !== null) await browser.post('/sign-in', userId)
  return browser
}

function listed(reply: Reply, name: string): string[] {
  return (reply.header(name) ?? '').split(',').map((item) => item.trim().toLowerCase())
}

function dependsOn(reply: Reply, header: string): void {
  assert.ok(listed(reply, 'vary').includes(header), `Vary: ${reply.header('vary')}`)
  assert.equal(reply.header('cache-control'), 'no-store')
}
