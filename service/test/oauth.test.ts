// Introspection as RFC 7662 and revocation as RFC 7009 have them.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { engines, serviceOn, type TestService } from './service.ts'

describe('OAuth', () => {
  let store: Awaited<ReturnType<(typeof engines)[0]['start']>>
  let service: TestService
  let shop: string
  let other: string
  before(async () => {
    store = await engines[0]!.start()
    service = await serviceOn(store.url)
    shop = await service.addClient('shop', 'start', 'verify', 'end')
    other = await service.addClient('other', 'verify', 'end')
  })
  after(async () => {
    await service.stop()
    await store.stop()
  })

  const startAs = async (as: string, o: object = {}) =>
    (await service.call('POST', '/v1/sessions', { as, body: { userId: 'ada', ...o } })).body
  const introspect = (form: Record<string, string>, as = other) =>
    service.call('POST', '/oauth/introspect', { as, form })
  const revoke = (form: Record<string, string>, as = shop) => service.call('POST', '/oauth/revoke', { as, form })

  it('describes an active token, in seconds', async () => {
    const { session, token } = await startAs(shop, { roles: ['clerk'], amr: ['pwd'], acr: 'aal1' })
    const { status, body, headers } = await introspect({ token, token_type_hint: 'access_token' })
    assert.equal(status, 200)
    assert.match(headers.get('content-type')!, /^application\/json/)
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.deepEqual(body, {
      active: true,
      sub: 'ada',
      client_id: 'shop',
      sid: session.id,
      iat: Math.floor(session.authenticatedAt / 1000),
      exp: Math.floor(session.expiresAt / 1000),
      acr: 'aal1',
      amr: ['pwd'],
      roles: ['clerk'],
    })
  })

  it('leaves out what is not known, and says nothing of a user for a guest', async () => {
    const { token } = await startAs(shop, { userId: null })
    const { body } = await introspect({ token })
    assert.deepEqual(Object.keys(body), ['active', 'client_id', 'sid', 'exp', 'roles'])
  })

  it('says nothing but inactive of any other token', async () => {
    const { session, token } = await startAs(shop)
    await service.call('DELETE', `/v1/sessions/${session.id}`)
    for (const wrong of [token, 'nonsense', `${'A'.repeat(22)}.${'A'.repeat(43)}`, 'é', ' ']) {
      const { status, text } = await introspect({ token: wrong })
      assert.deepEqual([status, text], [200, '{"active":false}'])
    }
  })

  it('ignores parameters it does not know, and wants each once', async () => {
    const { token } = await startAs(shop)
    assert.equal((await introspect({ token, resource: 'x', client_id: 'shop' })).body.active, true)
    for (const form of ['', 'token=', `token=${token}&token=${token}`, 'tokn=x']) {
      const { status, body } = await service.call('POST', '/oauth/introspect', {
        body: form,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
      })
      assert.deepEqual([status, body.error, body.code], [400, 'invalid_request', 'invalid-request'])
    }
    const json = await service.call('POST', '/oauth/introspect', { body: { token } })
    assert.equal(json.status, 415)
  })

  it('wants to know who asks', async () => {
    const { status, body, headers } = await introspect({ token: 'x' }, 'other:wrong')
    assert.deepEqual([status, body.error], [401, 'invalid_client'])
    assert.match(headers.get('www-authenticate')!, /^Basic /)
    assert.match(headers.get('content-type')!, /^application\/json/)
    const mayNot = await service.addClient('starter', 'start')
    const refused = await introspect({ token: 'x' }, mayNot)
    assert.deepEqual([refused.status, refused.body.error], [403, 'unauthorized_client'])
    assert.match(refused.body.error_description, /verify/)
  })

  it("ends the session of a client's own token", async () => {
    const { token } = await startAs(shop)
    const { status, text } = await revoke({ token, token_type_hint: 'refresh_token' })
    assert.deepEqual([status, text], [200, ''])
    assert.deepEqual((await introspect({ token })).body, { active: false })
    assert.equal((await revoke({ token })).status, 200, 'once more is no error')
  })

  it('does not tell a token that never was from one that is gone', async () => {
    assert.equal((await revoke({ token: 'nonsense' })).status, 200)
    assert.equal((await revoke({ token: `${'A'.repeat(22)}.${'A'.repeat(43)}` })).status, 200)
  })

  it('refuses to end what another client started, but for admin', async () => {
    const { token } = await startAs(shop)
    const { status, body } = await revoke({ token }, other)
    assert.deepEqual([status, body.error], [400, 'unauthorized_client'])
    assert.equal((await introspect({ token })).body.active, true)
    assert.equal((await service.call('POST', '/oauth/revoke', { form: { token } })).status, 200)
    assert.equal((await introspect({ token })).body.active, false)
  })

  it('takes POST alone', async () => {
    for (const path of ['/oauth/introspect', '/oauth/revoke']) {
      const { status, headers } = await service.call('GET', `${path}?token=x`)
      assert.deepEqual([status, headers.get('allow')], [405, 'POST'])
    }
  })
})
