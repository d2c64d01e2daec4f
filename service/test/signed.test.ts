// Signed tokens and their refresh: what services check by themselves, and what the service says of it.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { engines, issuer, serviceOn, until, type TestService } from './service.ts'

for (const { name, start } of engines) {
  describe(`signed tokens on ${name}`, () => {
    let store: Awaited<ReturnType<typeof start>>
    let service: TestService
    before(async () => {
      store = await start()
      service = await serviceOn(store.url)
    })
    after(async () => {
      await service.stop()
      await store.stop()
    })

    const verify = async (token: string) =>
      (await service.call('POST', '/v1/sessions/verify', { body: { token } })).body
    const refresh = (refreshToken: string, as?: string) =>
      service.call('POST', '/v1/sessions/refresh', { ...(as === undefined ? {} : { as }), body: { refreshToken } })
    const introspect = async (token: string) =>
      (await service.call('POST', '/oauth/introspect', { form: { token } })).body

    it('start with an access token that anybody can check who has the public keys', async () => {
      const { body } = await service.call('POST', '/v1/sessions', {
        body: {
          userId: 'grace',
          credential: 'signed',
          roles: ['clerk'],
          amr: ['pwd'],
          acr: 'aal2',
          claims: { plan: 'gold' },
        },
      })
      const { session, accessToken, refreshToken, expiresIn, ...rest } = body
      assert.deepEqual(rest, {})
      assert.ok(expiresIn === 299 || expiresIn === 300)
      assert.ok(!refreshToken.includes(accessToken))
      const keys = createRemoteJWKSet(new URL(`${service.url}/.well-known/jwks.json`))
      const { payload, protectedHeader } = await jwtVerify(accessToken, keys, {
        issuer,
        audience: issuer,
        typ: 'at+jwt',
      })
      assert.equal(protectedHeader.alg, 'EdDSA')
      const { sub, sid, client_id, roles, acr, amr, exp, iat } = payload
      assert.deepEqual(
        { sub, sid, client_id, roles, acr, amr, lives: exp! - iat! },
        { sub: 'grace', sid: session.id, client_id: 'admin', roles: ['clerk'], acr: 'aal2', amr: ['pwd'], lives: 300 },
      )
    })

    it('are verified, introspected and refused like others', async () => {
      const { id, accessToken } = await service.startSigned({ roles: ['clerk'] })
      const { active, session } = await verify(accessToken)
      assert.deepEqual([active, session.id, session.userId, session.roles], [true, id, 'ada', ['clerk']])
      const { sub, sid, client_id } = await introspect(accessToken)
      assert.deepEqual([sub, sid, client_id], ['ada', id, 'admin'])
      const [header, payload, signature] = accessToken.split('.') as [string, string, string]
      const forged = `${header}.${payload}.${signature.slice(0, 10)}AAAA${signature.slice(14)}`
      assert.deepEqual(await verify(forged), { active: false, reason: 'signature' })
      await service.call('DELETE', `/v1/sessions/${id}`)
      assert.deepEqual(await verify(accessToken), { active: false, reason: 'ended' })
      assert.deepEqual(await introspect(accessToken), { active: false })
    })

    it('that are older than the roles are stale', async () => {
      const { accessToken, refreshToken } = await service.startSigned({ userId: 'promoted' })
      assert.equal((await verify(accessToken)).active, true)
      await service.call('PUT', '/v1/users/promoted/roles', { body: { roles: ['clerk'] } })
      assert.deepEqual(await verify(accessToken), { active: false, reason: 'stale' })
      const { body } = await refresh(refreshToken)
      const { session } = await verify(body.accessToken)
      assert.deepEqual([session.roles, session.epoch], [['clerk'], 2])
    })

    it('are refreshed: once, again with the same result for a while, and never twice', async () => {
      const { id, refreshToken } = await service.startSigned()
      const { status, body } = await refresh(refreshToken)
      assert.equal(status, 200)
      assert.deepEqual(Object.keys(body), ['session', 'accessToken', 'refreshToken', 'expiresIn'])
      assert.equal(body.session.id, id)
      assert.equal((await verify(body.accessToken)).active, true)
      assert.notEqual(body.refreshToken, refreshToken)
      assert.equal((await refresh(refreshToken)).body.refreshToken, body.refreshToken)
      const third = await refresh(body.refreshToken)
      assert.equal(third.status, 200)
      const reused = await refresh(refreshToken)
      assert.deepEqual([reused.status, reused.body.code], [401, 'refresh-reused'])
      assert.equal((await verify(third.body.accessToken)).active, false)
      assert.deepEqual((await refresh(third.body.refreshToken)).body.code, 'ended')
      assert.ok(service.lines.some(({ msg }) => String(msg).startsWith('a spent refresh token came back')))
    })

    it('are refused for a refresh token that is none', async () => {
      const { id, refreshToken } = await service.startSigned()
      const opaque = await service.start()
      const [, family, secret] = refreshToken.split('.')
      for (const [token, code] of [
        ['nonsense', 'malformed'],
        [opaque.token, 'malformed'],
        [`${id}.${'A'.repeat(22)}.${secret}`, 'mismatch'],
        [`${opaque.id}.${family}.${secret}`, 'mismatch'],
        [`${'A'.repeat(22)}.${family}.${secret}`, 'unknown'],
      ]) {
        const { status, body } = await refresh(token!)
        assert.deepEqual([status, body.code], [401, code], token)
      }
      assert.equal((await refresh(refreshToken)).status, 200, 'nobody ended it')
      assert.equal((await refresh('x'.repeat(1025))).status, 400)
    })

    it('are refreshed for the client that started the session alone', async () => {
      const [shop, other] = [
        await service.addClient('shop', 'start', 'end'),
        await service.addClient('other', 'start', 'end'),
      ]
      const { body } = await service.call('POST', '/v1/sessions', {
        as: shop,
        body: { userId: 'ada', credential: 'signed' },
      })
      assert.equal((await refresh(body.refreshToken, other)).body.code, 'mismatch')
      const { status, body: next } = await refresh(body.refreshToken, shop)
      assert.equal(status, 200)
      const revoke = (token: string, as: string) => service.call('POST', '/oauth/revoke', { as, form: { token } })
      const refused = await revoke(next.refreshToken, other)
      assert.deepEqual([refused.status, refused.body.error], [400, 'unauthorized_client'])
      assert.equal((await verify(next.accessToken)).active, true)
      assert.equal((await revoke(`${body.session.id}.${'A'.repeat(22)}.${'A'.repeat(43)}`, shop)).status, 200)
      assert.equal((await verify(next.accessToken)).active, true, 'who knows the id alone ends nothing')
      assert.equal((await revoke(next.refreshToken, shop)).status, 200)
      assert.deepEqual(await verify(next.accessToken), { active: false, reason: 'ended' })
      assert.equal((await revoke(next.refreshToken, shop)).status, 200, 'once more is no error')
    })

    it('end with their session also by revocation of the access token', async () => {
      const { accessToken, refreshToken } = await service.startSigned()
      assert.equal((await service.call('POST', '/oauth/revoke', { form: { token: accessToken } })).status, 200)
      assert.equal((await refresh(refreshToken)).body.code, 'ended')
    })

    it('of guests become those of users, with what the guest had', async () => {
      const guest = await service.startSigned({ userId: null, data: { cart: [1], draft: 'x' } })
      const signIn = await service.call('POST', '/v1/sessions', {
        body: { userId: 'ada', replaces: guest.id, carry: ['cart'], roles: ['shopper'] },
      })
      assert.equal(signIn.status, 201)
      const { session, accessToken } = signIn.body
      assert.notEqual(session.id, guest.id)
      assert.deepEqual([session.userId, session.roles], ['ada', ['shopper']])
      assert.equal((await verify(accessToken)).session.id, session.id)
      assert.deepEqual((await service.call('GET', `/v1/sessions/${session.id}/data`)).body, { cart: [1] })
      assert.deepEqual(await verify(guest.accessToken), { active: false, reason: 'ended' })
      const again = await service.call('POST', '/v1/sessions', { body: { userId: 'ada', replaces: guest.id } })
      assert.deepEqual([again.status, again.body.code], [404, 'session-gone'])
      const starter = await service.addClient('starter', 'start')
      const body = { userId: 'ada', replaces: session.id }
      const refused = await service.call('POST', '/v1/sessions', { as: starter, body })
      assert.deepEqual([refused.status, refused.body.code], [403, 'missing-permission'])
      assert.match(refused.body.detail, /\bend\b/)
    })
  })
}

describe('sign-in in place of a session', () => {
  let service: TestService
  before(async () => {
    service = await serviceOn('memory:')
  })
  after(() => service.stop())

  it('wants end besides start, and nothing that belongs elsewhere', async () => {
    const { id, token } = await service.start({ userId: null })
    const wrong = [
      { userId: null, replaces: id },
      { userId: 'ada', replaces: id, credential: 'opaque' },
      { userId: 'ada', replaces: id, data: {} },
      { userId: 'ada', replaces: 'x' },
      { userId: 'ada', carry: ['cart'] },
    ]
    for (const body of wrong) assert.equal((await service.call('POST', '/v1/sessions', { body })).status, 400)
    assert.equal((await service.call('POST', '/v1/sessions/verify', { body: { token } })).body.active, true)
    const { body } = await service.call('POST', '/v1/sessions', { body: { userId: 'ada', replaces: id } })
    assert.equal((await service.call('POST', '/v1/sessions/verify', { body: { token } })).body.active, false)
    assert.match(body.token, new RegExp(`^${body.session.id}\\.`), 'of the kind that was there')
  })
})

describe('what everybody may know', () => {
  let service: TestService
  before(async () => {
    service = await serviceOn('memory:', { HOLDFAST_AUDIENCE: 'shop', HOLDFAST_ACCESS_TOKEN: '90s' })
  })
  after(() => service.stop())

  it('is the public keys, and nothing private', async () => {
    const { status, body, headers } = await service.call('GET', '/.well-known/jwks.json', { as: null })
    assert.equal(status, 200)
    assert.equal(headers.get('cache-control'), 'public, max-age=300')
    assert.ok(body.keys.length >= 1)
    for (const key of body.keys) {
      assert.ok(key.kid.length > 0 && key.alg === 'EdDSA')
      for (const secret of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']) assert.ok(!(secret in key))
    }
    const etag = headers.get('etag')!
    const again = await service.call('GET', '/.well-known/jwks.json', { as: null, headers: { 'if-none-match': etag } })
    assert.deepEqual([again.status, again.text, again.headers.get('etag')], [304, '', etag])
  })

  it('is where what is', async () => {
    const { body, headers } = await service.call('GET', '/.well-known/oauth-authorization-server', { as: null })
    assert.equal(headers.get('cache-control'), 'public, max-age=300')
    assert.equal(body.issuer, issuer)
    for (const name of ['jwks_uri', 'introspection_endpoint', 'revocation_endpoint']) {
      assert.ok(body[name].startsWith(`${issuer}/`), name)
      const { status } = await service.call('GET', body[name].slice(issuer.length), { as: null })
      assert.ok(status === 200 || status === 405, `${name} is there`)
    }
  })

  it('tokens are for whom the settings say, and live as long', async () => {
    const { accessToken } = await service.startSigned()
    const { aud, exp, iat } = JSON.parse(Buffer.from(accessToken.split('.')[1]!, 'base64url').toString())
    assert.deepEqual([[aud].flat(), exp - iat], [['shop'], 90])
  })
})

it('metrics tell of the feed, the cache and refreshes', async () => {
  const service = await serviceOn('memory:')
  const scraped = async () => {
    const { text } = await service.call('GET', '/metrics', { as: null })
    return (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
  }
  const { id, accessToken, refreshToken } = await service.startSigned()
  // A machine that is held up has a view that is too old for the cache now and then.
  await until(async () => {
    await service.call('POST', '/v1/sessions/verify', { body: { token: accessToken } })
    return (await scraped())('holdfast_cache_hits_total') >= 1
  }, 'an answer from the cache')
  await service.call('POST', '/v1/sessions/refresh', { body: { refreshToken } })
  await service.call('POST', '/v1/sessions/refresh', { body: { refreshToken } })
  await service.call('DELETE', `/v1/sessions/${id}?settled=true`)
  await until(async () => (await scraped())('holdfast_feed_fresh') === 1, 'a view that is young enough')
  const value = await scraped()
  assert.equal(value('holdfast_refreshes_total{outcome="rotated"}'), 1)
  assert.equal(value('holdfast_refreshes_total{outcome="repeated"}'), 1)
  assert.ok(value('holdfast_cache_misses_total') >= 1)
  assert.ok(value('holdfast_feed_age_seconds') >= 0 && value('holdfast_feed_lag_seconds') >= 0)
  assert.equal(value('holdfast_endings_known'), 1)
  for (const name of ['holdfast_cache_entries', 'holdfast_cache_bytes']) assert.ok(value(name) >= 0, name)
  await service.stop()
})
