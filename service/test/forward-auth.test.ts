// Proxies ask, and get a yes with the whole identity, or a no.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { startRedis } from '../../scripts/servers/redis.ts'
import { askedService, type Asked, type Question, type Reply } from './forward-auth-questions.ts'
import { keepSecret, until } from './service.ts'

const identity = [
  'x-holdfast-user',
  'x-holdfast-session',
  'x-holdfast-roles',
  'x-holdfast-acr',
  'x-holdfast-amr',
  'x-holdfast-authenticated-at',
  'txn-token',
]

function assertNobody(reply: Reply): void {
  for (const name of identity) assert.deepEqual(reply.all[name], [''], `${name} must be there once, and empty`)
}

const navigation = ['Accept', 'text/html,application/xhtml+xml', 'Sec-Fetch-Mode', 'navigate', 'Sec-Fetch-Site', 'none']

describe('forward-auth', () => {
  let service: Asked
  before(async () => {
    service = await askedService('memory:')
  })
  after(() => service.stop())
  const ask = (o?: Question) => service.ask(o)

  describe('a yes', () => {
    it('says who it is, in headers that are all there', async () => {
      const o = { userId: 'ada', roles: ['shopper', 'friend'], amr: ['pwd', 'otp'], acr: 'aal2' }
      const { id, token } = await service.start(o)
      const reply = await ask({ uri: '/account/x', token })
      assert.equal(reply.status, 200)
      assert.equal(reply.text, '')
      const { header } = reply
      assert.deepEqual(identity.map((name) => header(name)).toSpliced(5, 1), [
        'ada',
        id,
        'shopper,friend',
        'aal2',
        'pwd,otp',
        '',
      ])
      assert.match(header('x-holdfast-authenticated-at')!, /^\d{13}$/)
      assert.equal(header('cache-control'), 'no-store')
      assert.equal(header('set-cookie'), undefined)
    })

    it('by bearer token as well', async () => {
      const { token } = await service.start()
      const reply = await ask({ uri: '/account/x', more: ['Authorization', `Bearer ${token}`] })
      assert.equal(reply.header('x-holdfast-user'), 'ada')
    })

    it('encodes what is no visible ASCII, so that no header can be made of a name', async () => {
      const { token } = await service.start({ userId: 'Zoë, 100% <a@b>', roles: ['a,b', 'ü'] })
      const reply = await ask({ uri: '/account/x', token })
      assert.equal(reply.header('x-holdfast-user'), 'Zo%C3%AB%2C%20100%25%20<a@b>')
      assert.equal(decodeURIComponent(reply.header('x-holdfast-user')!), 'Zoë, 100% <a@b>')
      assert.equal(reply.header('x-holdfast-roles'), 'a%2Cb,%C3%BC')
    })

    it('has an assertion for the upstream of the rule, made once, and anew when the identity changes', async () => {
      const { id, token } = await service.start({ userId: 'grace', roles: ['shopper'] })
      const first = (await ask({ uri: '/orders', token })).header('txn-token')!
      keepSecret(first)
      const keys = createRemoteJWKSet(new URL(`${service.url}/.well-known/jwks.json`))
      const rule = { issuer: 'https://sessions.test', audience: 'orders', typ: 'txntoken+jwt' }
      const { payload } = await jwtVerify(first, keys, rule)
      assert.equal(payload.sub, 'grace')
      assert.equal(payload['sid'], id)
      assert.ok(payload.exp! - payload.iat! <= 60)
      assert.equal((await ask({ uri: '/orders/1', token })).header('txn-token'), first)
      const other = (await ask({ token })).header('txn-token')!
      assert.equal((await jwtVerify(other, keys, { ...rule, audience: 'catalogue' })).payload.aud, 'catalogue')
      await service.call('PUT', '/v1/users/grace/roles', { body: { roles: ['clerk'] } })
      const changed = (await ask({ uri: '/orders', token })).header('txn-token')!
      assert.deepEqual((await jwtVerify(changed, keys, rule)).payload['roles'], ['clerk'])
    })

    it('needs nobody where the rule is public, and says who it is when it can', async () => {
      assert.equal((await ask()).status, 200)
      assertNobody(await ask())
      const { token } = await service.start()
      assert.equal((await ask({ token })).header('x-holdfast-user'), 'ada')
      for (const bad of ['x', `${token}x`, `${token}; __Host-session=${token}`]) {
        const reply = await ask({ token: bad })
        assert.equal(reply.status, 200)
        assertNobody(reply)
      }
    })

    it('is none any more when the session has ended', async () => {
      const { id, token } = await service.start({ roles: ['shopper'] })
      assert.equal((await ask({ uri: '/orders', token })).status, 200)
      assert.equal((await service.call('DELETE', `/v1/sessions/${id}`)).status, 204)
      assert.equal((await ask({ uri: '/orders', token })).status, 401)
    })

    it('costs no look-up', async () => {
      const { token } = await service.start({ roles: ['shopper'] })
      await ask({ uri: '/orders', token })
      const count = async (name: string) => {
        const { text } = await service.call('GET', '/metrics', { as: null })
        return Number(new RegExp(`^holdfast_cache_${name}_total (\\d+)`, 'm').exec(text)?.[1] ?? 0)
      }
      const [hits, misses] = [await count('hits'), await count('misses')]
      for (let i = 0; i < 10; i++) assert.equal((await ask({ uri: `/orders/${i}`, token })).status, 200)
      assert.deepEqual([await count('hits'), await count('misses')], [hits + 10, misses])
    })
  })

  describe('a no', () => {
    it('is 401 for nobody, and for what opens no session', async () => {
      const { token } = await service.start()
      const { token: guest } = await service.start({ userId: null })
      const bad = [undefined, 'x', `${token}x`, guest, `${token}; __Host-session=${token}`]
      for (const one of bad) {
        const reply = await ask({ uri: '/account', ...(one === undefined ? {} : { token: one }) })
        assert.equal(reply.status, 401)
        assert.match(reply.header('www-authenticate')!, /^Bearer realm="holdfast"/)
        assert.equal(JSON.parse(reply.text).code, 'unauthenticated')
        assertNobody(reply)
      }
      const both = await ask({ uri: '/account', token, more: ['Authorization', `Bearer ${token}`] })
      assert.equal(both.status, 401)
    })

    it('is 403 without the permission, by method', async () => {
      const { token } = await service.start({ roles: ['shopper'] })
      const { token: clerk } = await service.start({ roles: ['clerk'] })
      const own = ['Sec-Fetch-Site', 'same-origin']
      assert.equal((await ask({ uri: '/orders/1', token })).status, 200)
      assert.equal((await ask({ uri: '/orders/1', method: 'HEAD', token })).status, 200)
      for (const method of ['POST', 'DELETE', 'OPTIONS', 'TRACE', 'PURGE']) {
        const reply = await ask({ uri: '/orders/1', method, token, more: own })
        assert.equal(reply.status, 403, method)
        assertNobody(reply)
        assert.equal((await ask({ uri: '/orders/1', method, token: clerk, more: own })).status, 200)
      }
    })

    it('is 401 with what is missing when the sign-in is too old or not strong enough', async () => {
      const { token } = await service.start({ acr: 'aal1' })
      const { token: strong } = await service.start({ acr: 'aal3' })
      assert.equal((await ask({ uri: '/account/password', token })).status, 200)
      const weak = await ask({ uri: '/account/bank', token })
      assert.equal(weak.status, 401)
      assert.match(
        weak.header('www-authenticate')!,
        /error="insufficient_user_authentication", acr_values="aal2 aal3"$/,
      )
      assert.equal((await ask({ uri: '/account/bank', token: strong })).status, 200)
      const page = await ask({ uri: '/account/bank', token, more: navigation })
      assert.equal(page.header('location'), '/sign-in?return_to=%2Faccount%2Fbank&acr_values=aal2%20aal3')
    })

    it('is 403 where no rule is', async () => {
      const { token } = await service.start({ roles: ['clerk'] })
      for (const o of [{ uri: '/' }, { uri: '/admin' }, { host: 'other.example' }, { host: 'partners.example' }]) {
        assert.equal((await ask({ ...o, token })).status, 403)
      }
      assert.equal((await ask({ host: 'a.partners.example' })).status, 200)
    })

    it('is 403 for what another site makes a browser do with its cookie', async () => {
      const { token } = await service.start({ roles: ['clerk'] })
      const post = (...more: string[]) => ask({ uri: '/orders', method: 'POST', token, more })
      const refused = [
        await post(),
        await post('Sec-Fetch-Site', 'cross-site'),
        await post('Sec-Fetch-Site', 'same-site', 'Origin', 'https://evil.shop.example'),
        await post('Origin', 'https://evil.example'),
        await post('Origin', 'null'),
        await post('Origin', 'https://127.0.0.1'),
      ]
      assert.deepEqual(
        refused.map(({ status }) => status),
        refused.map(() => 403),
      )
      assert.equal((await post('Sec-Fetch-Site', 'same-origin')).status, 200)
      assert.equal((await post('Origin', 'https://shop.example')).status, 200)
      assert.equal((await post('Sec-Fetch-Site', 'cross-site', 'Origin', 'https://accounts.example')).status, 200)
      const bearer = await ask({ uri: '/orders', method: 'POST', more: ['Authorization', `Bearer ${token}`] })
      assert.equal(bearer.status, 200)
      assert.equal((await ask({ uri: '/orders', token, more: ['Sec-Fetch-Site', 'cross-site'] })).status, 200)
    })
  })

  it('a WebSocket that another site opens is refused, and one of the site itself judged as the GET that it is', async () => {
    const { token } = await service.start({ roles: ['shopper'] })
    const open = async (...more: string[]) =>
      (await ask({ uri: '/orders', token, more: ['Sec-WebSocket-Version', '13', ...more] })).status
    assert.equal(await open('Origin', 'https://evil.shop.example', 'Sec-Fetch-Site', 'same-site'), 403)
    assert.equal(await open('Origin', 'https://evil.example'), 403)
    assert.equal(await open(), 403)
    assert.equal(await open('Origin', 'https://shop.example'), 200)
    assert.equal(await open('Origin', 'https://shop.example', 'Sec-Fetch-Site', 'same-origin'), 200)
    assert.equal(await open('Origin', 'https://accounts.example', 'Sec-Fetch-Site', 'cross-site'), 200)
  })

  describe('a browser on its way to a page', () => {
    const located = async (uri: string, o: Question = {}) =>
      (await ask({ uri, more: navigation, ...o })).header('location')

    it('is sent to sign in, and back', async () => {
      const reply = await ask({ uri: '/account/x?a=1&b=%2F', more: navigation })
      assert.equal(reply.status, 302)
      assert.equal(reply.header('location'), '/sign-in?return_to=%2Faccount%2Fx%3Fa%3D1%26b%3D%252F')
      assertNobody(reply)
    })
    it('gets a 401 that says where, for proxies that take no 302', async () => {
      const reply = await ask({ uri: '/account', more: navigation, path: '/forward-auth?redirect=401' })
      assert.equal(reply.status, 401)
      assert.equal(reply.header('location'), '/sign-in?return_to=%2Faccount')
    })
    it('is never sent to another host', async () => {
      assert.equal(await located('/account?//evil.example/\\x'), '/sign-in?return_to=%2F')
      assert.equal(await located(`/account?${'a'.repeat(2048)}`), '/sign-in?return_to=%2F')
      for (const uri of ['//evil.example', '/\\evil.example', 'https://evil.example/account', '/account\\..']) {
        assert.equal(await located(uri), undefined)
      }
    })
    it('is told so only if it is one', async () => {
      for (const more of [[], ['Accept', '*/*'], ['Accept', 'text/html', 'Sec-Fetch-Mode', 'cors']]) {
        assert.equal((await ask({ uri: '/account', more })).status, 401)
      }
      assert.equal((await ask({ uri: '/account', method: 'POST', more: navigation })).status, 401)
      assert.equal((await ask({ uri: '/account', more: ['Accept', 'text/html'] })).status, 302)
    })
  })

  describe('signed credentials', () => {
    const cookies = (accessToken: string, refreshToken: string, site: string) => [
      'Cookie',
      `__Host-session=${accessToken}; __Host-session-refresh=${refreshToken}`,
      'Sec-Fetch-Site',
      site,
    ]

    it('are refreshed, and the cookies handed on, each in a header of its own as well', async () => {
      const { id, accessToken, refreshToken } = await service.startSigned({ roles: ['shopper'] })
      const live = await ask({ uri: '/orders', more: cookies(accessToken, refreshToken, 'none') })
      assert.equal(live.header('x-holdfast-session'), id)
      assert.equal(live.all['set-cookie'], undefined)
      // Roles that changed make the access token old.
      await service.call('PUT', '/v1/users/ada/roles', { body: { roles: ['clerk'] } })
      const reply = await ask({ uri: '/orders', more: cookies(accessToken, refreshToken, 'same-origin') })
      assert.equal(reply.status, 200)
      assert.equal(reply.header('x-holdfast-roles'), 'clerk')
      const lines = reply.all['set-cookie']!
      assert.deepEqual(
        lines.map((line) => line.split('=')[0]),
        ['__Host-session', '__Host-session-refresh'],
      )
      for (const line of lines) {
        keepSecret(line.split(/[=;]/)[1]!)
        assert.match(line, /; Path=\/; Secure; HttpOnly; SameSite=Lax$/)
      }
      assert.deepEqual(
        [1, 2].map((n) => reply.header(`x-holdfast-set-cookie-${n}`)),
        lines,
      )
    })

    it('are not refreshed by what may be a sign-in, which has cookies of its own', async () => {
      const { accessToken, refreshToken } = await service.startSigned({ userId: 'alice' })
      await service.call('PUT', '/v1/users/alice/roles', { body: { roles: ['clerk'] } })
      const more = cookies(accessToken, refreshToken, 'same-origin')
      const reply = await ask({ uri: '/sign-in', method: 'POST', more })
      assert.equal(reply.status, 200)
      assert.equal(reply.all['set-cookie'], undefined)
      assertNobody(reply)
      // The token is not spent, and serves where it is clear who asks, or nothing is changed.
      const changing = await ask({ uri: '/orders', method: 'POST', more })
      assert.equal(changing.header('x-holdfast-user'), 'alice')
      assert.equal((await ask({ uri: '/catalogue', more })).header('x-holdfast-user'), 'alice')
    })

    it('are not refreshed because another site says so', async () => {
      const { accessToken, refreshToken } = await service.startSigned({ userId: 'eve' })
      await service.call('PUT', '/v1/users/eve/roles', { body: { roles: ['clerk'] } })
      const more = cookies(accessToken, refreshToken, 'cross-site')
      const reply = await ask({ uri: '/account', more: [...more, 'Accept', 'text/html'] })
      assert.equal(reply.status, 302)
      assert.equal(reply.all['set-cookie'], undefined)
      assert.equal((await ask({ uri: '/account', more: cookies(accessToken, refreshToken, 'none') })).status, 200)
    })
  })

  describe('what the client sends', () => {
    it('changes no header of identity', async () => {
      const spoofed = identity.flatMap((name) => [name, 'admin', name.toUpperCase(), 'admin'])
      assertNobody(await ask({ more: spoofed }))
      const { token } = await service.start()
      assert.deepEqual((await ask({ uri: '/account', token, more: spoofed })).all['x-holdfast-user'], ['ada'])
    })
    it('is refused when it is spelt as what only a proxy may send', async () => {
      const spelt = [
        'X_Holdfast_User',
        'x-holdfast_user',
        'X_HOLDFAST-ROLES',
        'Txn_Token',
        'X_Forwarded_Uri',
        'x_forwarded-host',
      ]
      for (const name of spelt) assert.equal((await ask({ more: [name, 'x'] })).status, 403, name)
      assert.equal((await ask({ more: ['x_other', 'x'] })).status, 200)
    })
    it('is refused when it is there twice', async () => {
      const twice: Record<string, string> = {
        'X-Forwarded-Uri': '/catalogue',
        'x-forwarded-host': 'shop.example',
        'X-Forwarded-Method': 'GET',
        Authorization: 'Bearer a',
        Origin: 'https://shop.example',
        'Sec-Fetch-Site': 'none',
        'Sec-Fetch-Mode': 'cors',
        'Sec-WebSocket-Version': '13',
      }
      for (const [name, value] of Object.entries(twice)) {
        assert.equal((await ask({ more: [name, value, name.toLowerCase(), value] })).status, 403, name)
      }
      const { token } = await service.start()
      // HTTP/2 has cookies in pieces.
      assert.equal((await ask({ uri: '/account', token, more: ['Cookie', 'a=b'] })).status, 200)
      assert.equal((await ask({ uri: '/account', token, more: ['Cookie', `__Host-session=${token}`] })).status, 401)
    })
    it('is refused when it gives the upstream another method or target', async () => {
      const more = (name: string, value: string) => ask({ more: [name, value] })
      const overrides = ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override', 'X-Original-Method']
      for (const name of overrides) {
        assert.equal((await more(name, 'DELETE')).status, 403, name)
        assert.equal((await more(name, 'GET')).status, 200)
      }
      for (const name of ['X-Original-URL', 'X-Original-URI', 'X-Rewrite-URL']) {
        assert.equal((await more(name, '/orders')).status, 403, name)
        assert.equal((await more(name, '/catalogue')).status, 200)
        assert.equal((await more(name, 'https://shop.example/catalogue')).status, 200)
      }
    })
    it('opens no other door', async () => {
      const keys = [
        'X-Holdfast-Bypass',
        'X-Middleware-Subrequest',
        'X-Auth-Request-Redirect',
        'X-Real-Ip',
        'X-Forwarded-For',
      ]
      for (const name of keys) assert.equal((await ask({ uri: '/account', more: [name, '127.0.0.1'] })).status, 401)
      for (const agent of ['kube-probe/1.29', 'GoogleHC/1.0', 'ELB-HealthChecker/2.0', 'holdfast'])
        assert.equal((await ask({ uri: '/account', more: ['User-Agent', agent] })).status, 401)
      const { token } = await service.start()
      for (const path of [`/forward-auth?token=${token}`, `/forward-auth?access_token=${token}`])
        assert.equal((await ask({ uri: `/account?token=${token}`, path })).status, 401)
    })
    it('is refused when it is too large', async () => {
      assert.equal((await ask({ more: ['X-Padding', 'a'.repeat(20_000)] })).status, 431)
      assert.equal((await ask({ uri: `/catalogue?${'a'.repeat(9_000)}` })).status, 403)
    })
    it('is refused when host, method or path can be read in two ways', async () => {
      for (const host of ['shop.example,evil.example', 'a@shop.example', 'shop.example/x', ''])
        assert.equal((await ask({ host })).status, 403, host)
      for (const method of ['get', 'Get', '', 'GET POST', 'GET,POST'])
        assert.equal((await ask({ method })).status, 403, method)
      for (const uri of ['/catalogue/../orders', '/catalogue//x', '/catalogue;x', '/%2fcatalogue', '/CATALOGUE'])
        assert.equal((await ask({ uri })).status, 403, uri)
      assert.equal((await ask({ host: 'SHOP.example.:8443' })).status, 200)
    })
  })

  describe('Envoy, which asks with the request itself', () => {
    it('is answered by path, method and Host of the question', async () => {
      const { token } = await service.start({ roles: ['shopper'] })
      const envoy = (ownMethod: string, path: string, o: Question = {}) => {
        const more = ['Sec-Fetch-Site', 'same-origin', ...(o.more ?? [])]
        return ask({
          describe: [],
          ownMethod,
          ownHost: 'shop.example',
          path: `/forward-auth${path}`,
          token,
          ...o,
          more,
        })
      }
      assert.equal((await envoy('GET', '/orders/1?x=1')).header('x-holdfast-user'), 'ada')
      assert.equal((await envoy('GET', '/orders', { ownHost: 'SHOP.example:443' })).status, 200)
      assert.equal((await envoy('POST', '/orders/1')).status, 403)
      assert.equal((await envoy('GET', '/catalogue/%2e%2e/orders')).status, 403)
      assert.equal((await envoy('GET', '/../v1/sessions')).status, 403)
      assert.equal((await envoy('GET', '/orders', { ownHost: 'other.example' })).status, 403)
      for (const name of ['X-Forwarded-Uri', 'X-Forwarded-Host', 'X-Forwarded-Method'])
        assert.equal((await envoy('GET', '/orders', { more: [name, '/catalogue'] })).status, 403, name)
    })
  })
})

describe('forward-auth of peers that are not trusted', () => {
  it('is closed by default, and the log says what to set, once', async () => {
    const service = await askedService('memory:', { HOLDFAST_TRUSTED_PROXIES: '' })
    const { token } = await service.start()
    for (let i = 0; i < 3; i++) {
      const reply = await service.ask({ token })
      assert.equal(reply.status, 403)
      assertNobody(reply)
    }
    const said = service.lines.filter(({ msg }) => /set HOLDFAST_TRUSTED_PROXIES/.test(String(msg)))
    assert.equal(said.length, 1)
    await service.stop()
  })
  it('is closed to everybody else, whatever X-Forwarded-For says', async () => {
    const service = await askedService('memory:', { HOLDFAST_TRUSTED_PROXIES: '10.0.0.0/8, ::1' })
    assert.equal((await service.ask({ more: ['X-Forwarded-For', '10.0.0.1'] })).status, 403)
    await service.stop()
  })
  it('lets nobody through without rules', async () => {
    const service = await askedService('memory:', { HOLDFAST_RULES: '' })
    assert.equal((await service.ask()).status, 403)
    assert.ok(service.lines.some(({ msg }) => /set HOLDFAST_RULES/.test(String(msg))))
    await service.stop()
  })
  it('is a fault of the proxy when it does not say what it asks about', async () => {
    const service = await askedService('memory:')
    for (const describe of [[], ['X-Forwarded-Method', 'GET', 'X-Forwarded-Host', 'shop.example']]) {
      const reply = await service.ask({ describe })
      assert.equal(reply.status, 500)
      assertNobody(reply)
    }
    await service.stop()
  })
})

it('forward-auth counts what becomes of questions, and logs each no', async () => {
  const service = await askedService('memory:')
  const { token } = await service.start({ roles: ['shopper'] })
  await service.ask()
  await service.ask({ uri: '/account' })
  await service.ask({ uri: '/account', token })
  await service.ask({ uri: '/orders', method: 'POST', token, more: ['Sec-Fetch-Site', 'none'] })
  const { text } = await service.call('GET', '/metrics', { as: null })
  for (const outcome of ['public', 'unauthenticated', 'allowed', 'forbidden'])
    assert.match(text, new RegExp(`holdfast_forward_auth_total\\{outcome="${outcome}"\\} 1`))
  const denied = service.lines.filter(({ msg }) => msg === 'forward-auth refused')
  assert.deepEqual(
    denied.map(({ outcome, rule, user }) => [outcome, rule, user]),
    [
      ['unauthenticated', 'rules[6]', undefined],
      ['forbidden', 'rules[3]', 'ada'],
    ],
  )
  await service.stop()
})

it('forward-auth says no while the store does not answer, but for what is public and for nobody', async () => {
  const redis = await startRedis()
  const service = await askedService(redis.url)
  const { token } = await service.start()
  const { token: other } = await service.start()
  assert.equal((await service.ask({ uri: '/account', token })).status, 200)
  redis.pause()
  // What is cached is believed for as long as the view of endings is young.
  await until(async () => (await service.ask({ uri: '/account', token })).status === 503, 'the first no')
  for (const o of [{ token }, { token: other }, { uri: '/account', token: other }, { uri: '/orders', token }]) {
    const reply = await service.ask(o)
    assert.equal(reply.status, 503)
    assert.ok(reply.header('retry-after') !== undefined)
    assertNobody(reply)
  }
  assert.equal((await service.ask()).status, 200)
  assert.equal((await service.ask({ uri: '/account' })).status, 401)
  redis.resume()
  await until(async () => (await service.ask({ uri: '/account', token: other })).status === 200, 'a yes again')
  await service.stop()
  await redis.stop()
})
