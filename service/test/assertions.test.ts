// Assertions through the service: who may make them of what, for whom, and that nothing is taken for what it is not.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { engines, issuer, serviceOn, type Answer, type TestService } from './service.ts'

for (const { name, start } of engines) {
  describe(`assertions on ${name}`, () => {
    let store: Awaited<ReturnType<typeof start>>
    let service: TestService
    /** Shop calls stock, and stock calls mail; the gate begins sessions. */
    let [gate, shop, stock, mail] = ['', '', '', '']
    before(async () => {
      store = await start()
      service = await serviceOn(store.url)
      gate = await service.addClient('gate', 'start', 'assert')
      shop = await service.addClient('shop', 'verify', 'assert:stock')
      stock = await service.addClient('stock', 'verify', 'assert:mail', 'assert:shop')
      mail = await service.addClient('mail', 'verify')
    })
    after(async () => {
      await service.stop()
      await store.stop()
    })

    const make = (as: string, body: object) => service.call('POST', '/v1/assertions', { as, body })
    const verify = async (as: string, body: object) =>
      (await service.call('POST', '/v1/sessions/verify', { as, body })).body
    const refusal = ({ status, body }: Answer) => [status, body.code]
    async function made(as: string, body: object): Promise<string> {
      const answer = await make(as, body)
      assert.equal(answer.status, 201, answer.text)
      return answer.body.assertion
    }

    it('are made of what the user’s client presented, for one audience, which can check them by itself', async () => {
      const { id, token } = await service.start({ roles: ['clerk'], amr: ['pwd'] })
      const { status, body } = await make(shop, { token, audience: 'stock', scope: ['stock:read'] })
      assert.equal(status, 201)
      assert.deepEqual(Object.keys(body), ['assertion', 'expiresIn'])
      assert.ok(body.expiresIn === 59 || body.expiresIn === 60)
      const keys = createRemoteJWKSet(new URL(`${service.url}/.well-known/jwks.json`))
      const { payload } = await jwtVerify(body.assertion, keys, { issuer, audience: 'stock', typ: 'txntoken+jwt' })
      const { sub, sid, scope, req_wl, act, roles, exp, iat } = payload
      assert.deepEqual(
        { sub, sid, scope, req_wl, act, roles, lives: exp! - iat! },
        {
          sub: 'ada',
          sid: id,
          scope: 'stock:read',
          req_wl: 'shop',
          act: { sub: 'shop' },
          roles: ['clerk'],
          lives: 60,
        },
      )
    })

    it('are made of a signed token, too', async () => {
      const { accessToken, id } = await service.startSigned()
      const { active, session, via } = await verify(stock, {
        assertion: await made(shop, { token: accessToken, audience: 'stock' }),
      })
      assert.deepEqual([active, session.id, via.callers, via.scope], [true, id, ['shop'], ['*']])
    })

    it('are made of what was asserted to the caller: the same transaction, never more, never longer', async () => {
      const { token } = await service.start()
      const toStock = await made(shop, { token, audience: 'stock', scope: ['stock:*', 'mail:send'] })
      const first = (await verify(stock, { assertion: toStock })).via
      const toMail = await made(stock, { assertion: toStock, audience: 'mail', scope: ['mail:*', 'stock:read'] })
      const { via } = await verify(mail, { assertion: toMail })
      assert.deepEqual(
        { ...via, scope: via.scope.toSorted() },
        { ...first, callers: ['shop', 'stock'], scope: ['mail:send', 'stock:read'] },
      )
      // What was asserted to shop can't be used by stock, nor the other way round.
      assert.deepEqual(refusal(await make(shop, { assertion: toStock, audience: 'stock' })), [
        401,
        'credential-refused',
      ])
      assert.deepEqual(refusal(await make(stock, { assertion: toMail, audience: 'mail' })), [401, 'credential-refused'])
      assert.deepEqual(await verify(mail, { assertion: toStock }), { active: false, reason: 'audience' })
    })

    it('want the permission for that audience', async () => {
      const { token } = await service.start()
      const { status, body } = await make(shop, { token, audience: 'mail' })
      assert.deepEqual([status, body.code], [403, 'missing-permission'])
      assert.match(body.detail, /assert \(or assert:mail\)/)
      assert.deepEqual(refusal(await make(mail, { token, audience: 'stock' })), [403, 'missing-permission'])
    })

    it('of a session by its id want start besides: who was given little must not ask for everything', async () => {
      const { id, token } = await service.start()
      const toStock = await made(shop, { token, audience: 'stock', scope: [] })
      const { body } = await make(stock, { sessionId: id, audience: 'mail' })
      assert.equal(body.code, 'missing-permission')
      assert.match(body.detail, /start/)
      assert.deepEqual((await verify(stock, { assertion: toStock })).via.scope, [])
      assert.equal(
        (await verify(mail, { assertion: await made(gate, { sessionId: id, audience: 'mail' }) })).active,
        true,
      )
      assert.deepEqual(refusal(await make(gate, { sessionId: 'A'.repeat(22), audience: 'mail' })), [
        404,
        'session-gone',
      ])
    })

    it('end with the session, and are stale when the roles change', async () => {
      const { id, token } = await service.start({ userId: 'eve', roles: ['clerk'] })
      const assertion = await made(shop, { token, audience: 'stock' })
      await service.call('PUT', '/v1/users/eve/roles', { body: { roles: [] } })
      assert.deepEqual(await verify(stock, { assertion }), { active: false, reason: 'stale' })
      assert.deepEqual(refusal(await make(stock, { assertion, audience: 'mail' })), [401, 'credential-refused'])
      const newer = await made(shop, { token, audience: 'stock' })
      assert.deepEqual((await verify(stock, { assertion: newer })).session.roles, [])
      await service.call('DELETE', `/v1/sessions/${id}`)
      assert.deepEqual(await verify(stock, { assertion: newer }), { active: false, reason: 'ended' })
      for (const [as, body] of [
        [stock, { assertion: newer, audience: 'mail' }],
        [shop, { token, audience: 'stock' }],
      ] as const)
        assert.deepEqual(refusal(await make(as, body)), [401, 'credential-refused'])
      assert.deepEqual(refusal(await make(gate, { sessionId: id, audience: 'mail' })), [404, 'session-gone'])
    })

    it('pass eight services at most', async () => {
      const { token } = await service.start()
      let assertion = await made(shop, { token, audience: 'stock' })
      for (let i = 1; i < 8; i++) {
        const back = i % 2 === 1
        const answer = back
          ? await make(stock, { assertion, audience: 'shop' })
          : await make(shop, { assertion, audience: 'stock' })
        ;({ assertion } = answer.body)
      }
      assert.equal((await verify(shop, { assertion })).via.callers.length, 8)
      assert.deepEqual(refusal(await make(shop, { assertion, audience: 'stock' })), [403, 'forbidden'])
    })

    it('are refused for a body that is none', async () => {
      const { token, id } = await service.start()
      for (const body of [
        {},
        { audience: 'stock' },
        { token },
        { token, sessionId: id, audience: 'stock' },
        { token, assertion: token, audience: 'stock' },
        { token, audience: '' },
        { token, audience: 'a b' },
        { token, audience: 'stock', scope: 'orders:read' },
        { token, audience: 'stock', scope: ['a b'] },
        { token, audience: 'stock', scope: ['*:read'] },
        { token, audience: 'stock', scope: Array.from({ length: 101 }, () => 'a') },
        { token, audience: 'stock', lifetime: 99 },
        { sessionId: 'x', audience: 'stock' },
      ])
        assert.deepEqual(refusal(await make(gate, body)), [400, 'invalid-request'], JSON.stringify(body))
      for (const body of [{}, { token, assertion: token }])
        assert.equal((await service.call('POST', '/v1/sessions/verify', { body })).status, 400)
    })

    it('every kind of token opens something in its own places alone', async () => {
      const opaque = await service.start()
      const signed = await service.startSigned()
      const kinds = {
        opaque: opaque.token,
        access: signed.accessToken,
        refresh: signed.refreshToken,
        assertion: await made(shop, { token: opaque.token, audience: 'stock' }),
        id: opaque.id,
      }
      const as = await service.addClient('matrix', 'verify', 'start', 'end', 'assert')
      const toMatrix = await made(gate, { token: opaque.token, audience: 'matrix' })
      const places: Record<string, { takes: string[]; opens(token: string): Promise<boolean> }> = {
        'verify token': {
          takes: ['opaque', 'access'],
          opens: async (token) => (await verify(as, { token })).active,
        },
        'verify assertion': {
          takes: ['assertion'],
          opens: async (assertion) => (await verify(as, { assertion })).active,
        },
        introspect: {
          takes: ['opaque', 'access'],
          opens: async (token) =>
            (await service.call('POST', '/oauth/introspect', { as, form: { token } })).body.active,
        },
        'assert of token': {
          takes: ['opaque', 'access'],
          opens: async (token) => (await make(as, { token, audience: 'stock' })).status === 201,
        },
        'assert of assertion': {
          takes: ['assertion'],
          opens: async (assertion) => (await make(as, { assertion, audience: 'stock' })).status === 201,
        },
        'assert of session id': {
          takes: ['id'],
          opens: async (sessionId) => (await make(as, { sessionId, audience: 'stock' })).status === 201,
        },
        refresh: {
          takes: ['refresh'],
          opens: async (refreshToken) =>
            (await service.call('POST', '/v1/sessions/refresh', { body: { refreshToken } })).status === 200,
        },
        // Answers the same for everything: what counts is that the session is still there afterwards.
        revoke: {
          takes: [],
          opens: async (token) => {
            if (token !== kinds.assertion && token !== toMatrix && token !== opaque.id) return false
            await service.call('POST', '/oauth/revoke', { form: { token } })
            return !(await verify(as, { token: opaque.token })).active
          },
        },
        'a client’s secret': {
          takes: [],
          opens: async (token) => (await service.call('GET', '/v1/feed', { as: `stock:${token}` })).status !== 401,
        },
      }
      for (const [place, { takes, opens }] of Object.entries(places)) {
        for (const [kind, token] of Object.entries({ ...kinds, assertion: toMatrix }))
          assert.equal(await opens(token), takes.includes(kind), `${kind} at ${place}`)
        assert.equal(await opens(kinds.assertion), false, `an assertion for another client at ${place}`)
      }
    })
  })
}
