// What a site is to do behind any proxy, with the files as they are shipped.
import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { after, before, describe, it } from 'node:test'
import type { Server } from '../../scripts/servers/server.ts'
import { ask, sendRaw, type Answer } from './asked.ts'
import { host, startSite, type Proxy, type Site } from './site.ts'
import { cacheable } from './upstream.ts'

/** HOLDFAST_MAX_STALENESS, unset. */
const boundMs = 1_000

const navigation = { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-site': 'none' }

/** Runs the tests on it. */
export function testProxy(proxy: Proxy): void {
  describe(proxy.name, () => {
    let site: Site
    let front: Server
    before(async () => {
      site = await startSite()
      front = await site.front(proxy)
    })
    after(() => site.stop())

    it('a user signs in, and the application hears who it is and can prove it', async () => {
      const signedIn = await ask(front, '/sign-in?as=ada', { method: 'POST' })
      assert.equal(signedIn.status, 200)
      const cookie = cookiesOf(signedIn)
        .find((line) => line.startsWith('__Host-session='))!
        .split(';')[0]!
      const { status, text } = await ask(front, '/account?x=1', { cookie })
      assert.equal(status, 200)
      const heard = heardBy(text)
      assert.equal(heard.target, '/account?x=1')
      assert.deepEqual(heard.headers['x-holdfast-user'], ['ada'])
      assert.deepEqual(heard.headers['x-holdfast-roles'], ['shopper'])
      assert.equal(heard.headers['x-holdfast-session']![0]!.length, 22)
      assert.ok(Number(heard.headers['x-holdfast-authenticated-at']![0]) > 0)
      const ofProxy = ['host', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-for']
      assert.deepEqual(
        ofProxy.map((name) => heard.headers[name]),
        [[host], [host], ['http'], ['127.0.0.1']],
      )
      const assertion = JSON.parse(Buffer.from(heard.headers['txn-token']![0]!.split('.')[1]!, 'base64url').toString())
      assert.deepEqual([assertion.sub, assertion.aud], ['ada', 'app'])
    })

    it('what the application hears is not said to the client', async () => {
      const { cookie } = await site.signIn('ada')
      for (const path of ['/account', '/public/x', '/.holdfast', '/.holdfast?redirect=401', '/forward-auth']) {
        const { headers } = await ask(front, path, { cookie })
        assert.deepEqual(
          Object.keys(headers).filter((name) => /^(x-holdfast-|txn-token)/.test(name)),
          [],
          path,
        )
      }
    })

    it('a request with the whole URL is as good as one with its path', async () => {
      const { status, text } = await ask(front, `http://${host}/public/x?y=1`)
      assert.equal(status, 200)
      assert.equal(heardBy(text).target, '/public/x?y=1')
    })

    it('who is not signed in gets 401, a browser the way to sign in, and everybody what is public', async () => {
      const refused = await ask(front, '/account')
      assert.equal(refused.status, 401)
      assert.match(String(refused.headers['www-authenticate']), /^Bearer realm="holdfast"$/)
      const sent = await ask(front, '/account?x=1', { headers: navigation })
      assert.equal(sent.status, 302)
      // Without a scheme: TLS may end before the proxy.
      assert.equal(sent.headers.location, '/sign-in?return_to=%2Faccount%3Fx%3D1')
      const open = await ask(front, '/public/page')
      assert.equal(open.status, 200)
      assert.deepEqual(heardBy(open.text).headers['x-holdfast-user'] ?? [''], [''])
    })

    it('who lacks the permission gets 403, and who has it gets through', async () => {
      const [ada, root] = [await site.signIn('ada'), await site.signIn('root')]
      assert.equal((await ask(front, '/admin/users', ada)).status, 403)
      assert.equal((await ask(front, '/admin/users', root)).status, 200)
      assert.equal((await ask(front, '/orders/1', ada)).status, 200)
      assert.equal((await ask(front, '/orders/1', { ...ada, method: 'DELETE' })).status, 403)
    })

    it('a request of another site changes nothing', async () => {
      const { cookie } = await site.signIn('ada')
      const post = { cookie, method: 'POST' }
      assert.equal((await ask(front, '/account', { ...post, headers: { 'sec-fetch-site': 'cross-site' } })).status, 403)
      assert.equal((await ask(front, '/account', { ...post, headers: { origin: 'https://other.test' } })).status, 403)
      assert.equal(
        (await ask(front, '/account', { ...post, headers: { 'sec-fetch-site': 'same-origin' } })).status,
        200,
      )
      assert.equal((await ask(front, '/account', { ...post, headers: { origin: `https://${host}` } })).status, 200)
    })

    it('many users at once, on the same connections, are each themselves', async () => {
      const users = Array.from({ length: 20 }, (_, n) => `user-${n}`)
      const cookies = await Promise.all(users.map(async (user) => (await site.signIn(user)).cookie))
      const agent = new Agent({ keepAlive: true, maxSockets: 10 })
      const heard = await Promise.all(
        Array.from({ length: 400 }, async (_, i) => {
          // Every fourth is nobody.
          const cookie = i % 4 === 3 ? undefined : cookies[i % 20]
          const { status, text } = await ask(front, `/public/${i}`, { cookie, agent })
          return status === 200 ? (heardBy(text).headers['x-holdfast-user']?.join() ?? '') : status
        }),
      )
      agent.destroy()
      assert.deepEqual(
        heard,
        heard.map((_, i) => (i % 4 === 3 ? '' : users[i % 20])),
      )
    })

    it('a session that was ended is refused within the bound, and from then on', async () => {
      const { id, cookie } = await site.signIn('ada')
      assert.equal((await ask(front, '/account', { cookie })).status, 200)
      await site.endSession(id)
      const ended = performance.now()
      for (let refused = 0; refused < 5;) {
        const began = performance.now()
        const { status } = await ask(front, '/account', { cookie })
        if (status === 401) refused++
        else assert.ok(status === 200 && refused === 0 && began < ended + boundMs, `${status} after the bound`)
      }
    })

    it('an access token that is gone is renewed on the way, and the browser gets every new cookie', async () => {
      const { cookie } = await site.signIn('ada', { credential: 'signed' })
      const onlyRefresh = cookie.split('; ')[1]!
      const answer = await ask(front, '/account', { cookie: onlyRefresh, headers: navigation })
      assert.equal(answer.status, 200)
      assert.deepEqual(heardBy(answer.text).headers['x-holdfast-user'], ['ada'])
      const fresh = cookiesOf(answer).map((line) => line.split(';')[0]!)
      const names = fresh.map((pair) => pair.split('=')[0])
      assert.deepEqual(
        names.filter((name) => name!.startsWith('__Host')).toSorted((a, b) => (a! < b! ? -1 : 1)),
        ['__Host-session', '__Host-session-refresh'],
      )
      const next = fresh.filter((pair) => pair.startsWith('__Host-session=')).join()
      assert.equal((await ask(front, '/account', { cookie: next })).status, 200)
    })

    it('who signs in as somebody else is that one', async () => {
      const { cookie } = await site.signIn('alice', { credential: 'signed' })
      const onlyRefresh = cookie.split('; ')[1]!
      // The second by a link in a letter, say.
      const ways = [{ method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } }, { headers: navigation }]
      for (const way of ways) {
        const answer = await ask(front, '/sign-in?as=bob', { ...way, cookie: onlyRefresh })
        // Of several of one name browsers keep the last.
        const kept = cookiesOf(answer).findLast((line) => line.startsWith('__Host-session='))!
        const { text } = await ask(front, '/account', { cookie: kept.split(';')[0]! })
        assert.deepEqual(heardBy(text).headers['x-holdfast-user'], ['bob'])
      }
    })

    it('no cache keeps an answer with new cookies; of others the application says it', async () => {
      const plain = await ask(front, '/public/picture')
      // HAProxy adds `private` for its own cookie.
      assert.match(plain.headers['cache-control']!, new RegExp(`^${cacheable}(, private)?$`))
      const { cookie } = await site.signIn('ada', { credential: 'signed' })
      const renewed = await ask(front, '/public/picture', { cookie: cookie.split('; ')[1]!, headers: navigation })
      assert.ok(cookiesOf(renewed).some((line) => line.startsWith('__Host-session=')))
      assert.match(renewed.headers['cache-control']!, /no-store/)
    })

    it('a session that takes several cookies is as good as a small one', async () => {
      // About as large as one may be.
      const claims = { about: 'x'.repeat(5_700) }
      const { cookie } = await site.signIn('ada', { credential: 'signed', claims })
      const onlyRefresh = cookie.split('; ')[1]!
      const answer = await ask(front, '/public/page', { cookie: onlyRefresh, headers: navigation })
      assert.equal(answer.status, 200)
      const fresh = cookiesOf(answer).map((line) => line.split(';')[0]!)
      const parts = fresh.filter((pair) => /^__Host-session(~\d)?=/.test(pair))
      assert.ok(parts.length > 1, 'it fits into one')
      const { status, text } = await ask(front, '/public/page', { cookie: fresh.join('; ') })
      assert.equal(status, 200)
      assert.deepEqual(heardBy(text).headers['x-holdfast-user'], ['ada'])
    })

    it('who sends far too much locks nobody else out', async () => {
      const { cookie } = await site.signIn('ada')
      const lines = Array.from({ length: 30 }, (_, i) => `X-Long-${i}: ${'a'.repeat(30_000)}\r\n`).join('')
      const bytes = `GET /account HTTP/1.1\r\nHost: ${host}\r\nCookie: ${cookie}\r\n${lines}\r\n`
      // Now and then a server that gives up on it is quick enough to say so.
      for (let i = 0; i < 10; i++) {
        const back = await Promise.all(Array.from({ length: 8 }, () => sendRaw(front.port, bytes)))
        for (const text of back) assert.doesNotMatch(text, /^HTTP\/1\.1 [25]/)
        assert.equal((await ask(front, '/account', { cookie })).status, 200)
      }
    })

    it('other hosts are not served', async () => {
      for (const other of ['other.test', '127.0.0.1', `${host}.other.test`])
        assert.equal((await ask(front, '/public/x', { headers: { host: other } })).status, 421)
      site.arrivals()
    })

    it('a WebSocket goes through for who may, and for nobody else', async () => {
      const { cookie } = await site.signIn('ada')
      const handshake = (line: string) =>
        `GET /account HTTP/1.1\r\nHost: ${host}\r\n${line}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
      const own = `Cookie: ${cookie}\r\nOrigin: https://${host}`
      const echo = /GET \/public\/after/
      const back = await sendRaw(front.port, handshake(own), echo)
      assert.match(back, /^HTTP\/1\.1 101 /)
      assert.match(back, echo, 'what is sent is echoed')
      const status = (lines: string) => sendRaw(front.port, handshake(lines), /^HTTP\/1\.1 \d+ /)
      assert.match(await status(`Origin: https://${host}`), /^HTTP\/1\.1 401 /)
      site.arrivals()
      const others = [
        `Cookie: ${cookie}\r\nOrigin: https://other.${host}\r\nSec-Fetch-Site: same-site`,
        `Cookie: ${cookie}\r\nOrigin: https://other.test`,
      ]
      for (const other of others) assert.match(await status(other), /^HTTP\/1\.1 403 /)
      assert.ok(site.arrivals().every(({ path }) => path !== '/account'))
    })

    it('its own cookie keeps a browser at one instance, through signing in, and at the other when that is gone', async () => {
      const first = await ask(front, '/public/page')
      const route = routeOf(first)!
      const instance = heardBy(first.text).instance
      const { cookie } = await site.signIn('ada')
      for (let i = 0; i < 6; i++) {
        const answer = await ask(front, '/account', {
          cookie: i < 3 ? `${route}; ${cookie}` : `${route}; ${(await site.signIn('ada')).cookie}`,
        })
        assert.equal(heardBy(answer.text).instance, instance)
        assert.equal(routeOf(answer), undefined)
      }
      await site.upstreams[instance]!.stop()
      try {
        for (let i = 0; i < 6; i++) {
          const answer = await ask(front, '/account', { cookie: `${route}; ${cookie}` })
          assert.equal(answer.status, 200)
          assert.equal(heardBy(answer.text).instance, 1 - instance)
        }
      } finally {
        await site.upstreams[instance]!.start()
      }
    })

    it('browsers are spread over the instances', async () => {
      await untilBoth(front)
    })

    it('the session keeps a user at one instance, without a cookie, and at the other when that is gone', async () => {
      const other = await site.front(proxy, 'session')
      await untilBoth(other)
      const { cookie } = await site.signIn('ada')
      const ask1 = async () => ask(other, '/account', { cookie })
      const { instance } = heardBy((await ask1()).text)
      for (let i = 0; i < 6; i++) {
        const answer = await ask1()
        assert.equal(heardBy(answer.text).instance, instance)
        assert.equal(routeOf(answer), undefined)
      }
      await site.upstreams[instance]!.stop()
      try {
        for (let i = 0; i < 6; i++) assert.equal(heardBy((await ask1()).text).instance, 1 - instance)
      } finally {
        await site.upstreams[instance]!.start()
      }
    })

    it('a GET whose connection breaks is sent again, a POST is not', async () => {
      const { cookie } = await site.signIn('ada')
      await untilBoth(front)
      site.arrivals()
      site.upstreams[0]!.breakNext()
      const gets = await Promise.all(Array.from({ length: 12 }, () => ask(front, '/account', { cookie })))
      assert.deepEqual(
        gets.map(({ status }) => status),
        Array(12).fill(200),
      )
      assert.equal(site.arrivals().length, 13)

      await untilBoth(front)
      site.arrivals()
      site.upstreams[0]!.breakNext()
      const same = { 'sec-fetch-site': 'same-origin' }
      const posts = await Promise.all(
        Array.from({ length: 12 }, () => ask(front, '/account', { method: 'POST', cookie, headers: same })),
      )
      assert.equal(posts.filter(({ status }) => status >= 502).length, 1)
      assert.equal(site.arrivals().length, 12)
    })

    it('the death of a replica is not noticed, and with none nobody gets in', async () => {
      const { cookie } = await site.signIn('ada')
      const all = async () => {
        const paths = Array.from({ length: 12 }, (_, i) => (i % 2 === 0 ? '/account' : '/public/x'))
        const answers = await Promise.all(paths.map((path) => ask(front, path, { cookie })))
        return new Set(answers.map(({ status }) => status))
      }
      assert.deepEqual(await all(), new Set([200]))
      site.replicas[1]!.pause()
      assert.deepEqual(await all(), new Set([200]), 'while one stands still')
      await site.replicas[1]!.kill()
      assert.deepEqual(await all(), new Set([200]))
      await site.restart(1)
      await site.replicas[0]!.kill()
      await untilServed(front, cookie)
      await site.replicas[1]!.kill()
      site.arrivals()
      assert.deepEqual(await all(), new Set([503]))
      assert.deepEqual(site.arrivals(), [])
      await Promise.all([site.restart(0), site.restart(1)])
      await untilServed(front, cookie)
    })

    it('while the store does not answer nobody gets in who has to be looked up, and what is public is served', async () => {
      const { cookie } = await site.signIn('ada')
      site.store.pause()
      try {
        site.arrivals()
        const refused = await ask(front, '/account', { cookie })
        assert.equal(refused.status, 503)
        assert.ok(Number(refused.headers['retry-after']) >= 1)
        assert.deepEqual(site.arrivals(), [])
        // For longer than any health check takes to see it.
        for (const until = performance.now() + 4_000; performance.now() < until;) {
          assert.equal((await ask(front, '/public/x')).status, 200)
          assert.equal((await ask(front, '/account', { cookie })).status, 503)
        }
      } finally {
        site.store.resume()
      }
      await untilServed(front, cookie)
    })
  })
}

/** Everybody who is new goes somewhere; in the end to both. A proxy that has seen one fail leaves it alone for a while. */
async function untilBoth(front: Server): Promise<void> {
  const seen = new Set<number>()
  await until(async () => {
    seen.add(heardBy((await ask(front, '/public/page')).text).instance)
    return seen.size === 2
  })
}

function untilServed(front: Server, cookie: string): Promise<void> {
  return until(async () => (await ask(front, '/account', { cookie })).status === 200)
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 60_000
  while (!(await holds())) {
    assert.ok(performance.now() < giveUpAt, 'waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

interface Heard {
  readonly instance: number
  readonly target: string
  readonly headers: Readonly<Record<string, readonly string[]>>
}

function heardBy(text: string): Heard {
  return JSON.parse(text) as Heard
}

function cookiesOf({ headers }: Answer): readonly string[] {
  return headers['set-cookie'] ?? []
}

function routeOf(answer: Answer): string | undefined {
  return cookiesOf(answer)
    .find((line) => line.startsWith('holdfast_route='))
    ?.split(';')[0]
}
