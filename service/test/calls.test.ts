// Every call: what it answers when all is well, and how it refuses.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { engines, serviceOn, until, type TestService } from './service.ts'

const noId = 'A'.repeat(22)

for (const engine of engines) {
  describe(`on ${engine.name}`, () => {
    let store: Awaited<ReturnType<typeof engine.start>>
    let service: TestService
    before(async () => {
      store = await engine.start()
      service = await serviceOn(store.url)
    })
    after(async () => {
      await service.stop()
      await store.stop()
    })

    it('starts a session with all that is known of it', async () => {
      const at = Date.now()
      const { status, body, headers } = await service.call('POST', '/v1/sessions', {
        body: {
          userId: 'grace',
          roles: ['shopper'],
          claims: { plan: 'gold' },
          amr: ['pwd', 'otp'],
          acr: 'aal2',
          credential: 'opaque',
          device: { userAgent: 'Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0 Safari/537.36', address: '192.0.2.7' },
          data: { cart: ['a book'] },
        },
      })
      assert.equal(status, 201)
      assert.equal(headers.get('cache-control'), 'no-store')
      const { id, authenticatedAt, createdAt, seenAt, expiresAt, endsAt, ...rest } = body.session
      assert.match(id, /^[\w-]{22}$/)
      assert.match(body.token, new RegExp(`^${id}\\.[\\w-]{43}$`))
      assert.ok(authenticatedAt >= at && expiresAt === authenticatedAt + 30 * 60_000)
      assert.deepEqual(
        [createdAt, seenAt, endsAt],
        [authenticatedAt, authenticatedAt, authenticatedAt + 12 * 3_600_000],
      )
      assert.deepEqual(rest, {
        userId: 'grace',
        roles: ['shopper'],
        claims: { plan: 'gold' },
        amr: ['pwd', 'otp'],
        acr: 'aal2',
        device: { browser: 'Chrome 140', system: 'Linux', label: 'Chrome 140 on Linux', address: '192.0.2.7' },
        client: 'admin',
        remembered: false,
        epoch: 1,
      })
      assert.deepEqual((await service.call('GET', `/v1/sessions/${id}/data`)).body, { cart: ['a book'] })
    })

    it("starts a guest's session", async () => {
      const { status, body } = await service.call('POST', '/v1/sessions', { body: { userId: null } })
      assert.equal(status, 201)
      assert.deepEqual([body.session.userId, body.session.authenticatedAt], [null, null])
    })

    it('gives remembered sessions the longer limits', async () => {
      const { body } = await service.call('POST', '/v1/sessions', { body: { userId: 'ada', remember: true } })
      assert.equal(body.session.expiresAt - body.session.authenticatedAt, 14 * 86_400_000)
      assert.equal(body.session.remembered, true)
    })

    it('verifies a token', async () => {
      const { id, token } = await service.start()
      const { status, body } = await service.call('POST', '/v1/sessions/verify', { body: { token } })
      assert.equal(status, 200)
      assert.equal(body.active, true)
      assert.equal(body.session.id, id)
      assert.equal(body.session.userId, 'ada')
    })

    it('says why a token is refused', async () => {
      const { id, token } = await service.start()
      const verify = async (wrong: string) =>
        (await service.call('POST', '/v1/sessions/verify', { body: { token: wrong } })).body
      assert.deepEqual(await verify('nonsense'), { active: false, reason: 'malformed' })
      assert.deepEqual(await verify(token.slice(0, -1)), { active: false, reason: 'malformed' })
      assert.deepEqual(await verify(`${token} `), { active: false, reason: 'malformed' })
      assert.deepEqual(await verify(`${id}.${'A'.repeat(43)}`), { active: false, reason: 'mismatch' })
      assert.deepEqual(await verify(`${noId}.${'A'.repeat(43)}`), { active: false, reason: 'unknown' })
    })

    it('shows a session, and none that was never issued', async () => {
      const { id } = await service.start({ roles: ['clerk'] })
      const { status, body } = await service.call('GET', `/v1/sessions/${id}`)
      assert.equal(status, 200)
      assert.deepEqual([body.id, body.roles], [id, ['clerk']])
      const missing = await service.call('GET', `/v1/sessions/${noId}`)
      assert.equal(missing.status, 404)
      assert.equal(missing.body.code, 'session-gone')
    })

    it('ends a session, once', async () => {
      const { id, token } = await service.start()
      const ended = await service.call('DELETE', `/v1/sessions/${id}`)
      assert.deepEqual([ended.status, ended.text], [204, ''])
      const { body } = await service.call('POST', '/v1/sessions/verify', { body: { token } })
      assert.deepEqual(body, { active: false, reason: 'ended' })
      assert.equal((await service.call('DELETE', `/v1/sessions/${id}`)).status, 404)
    })

    it("lists a user's sessions, newest first, and ends all but one", async () => {
      const ids: string[] = []
      for (let i = 0; i < 3; i++) ids.unshift((await service.start({ userId: 'many sessions/é' })).id)
      const path = `/v1/users/${encodeURIComponent('many sessions/é')}/sessions`
      const list = async (query = '') => (await service.call('GET', path + query)).body.sessions as { id: string }[]
      const found = await list()
      assert.deepEqual(found.map(({ id }) => id).toSorted(), ids.toSorted())
      assert.deepEqual(Object.keys(found[0]!), ['id', 'device', 'amr', 'createdAt', 'seenAt', 'expiresAt'])
      assert.equal((await list(`?except=${ids[0]}`)).length, 2)
      const ended = await service.call('DELETE', `${path}?except=${ids[0]}`)
      assert.deepEqual(ended.body, { ended: 2 })
      assert.deepEqual(
        (await list()).map(({ id }) => id),
        [ids[0]],
      )
      assert.deepEqual((await service.call('DELETE', path)).body, { ended: 1 })
      assert.deepEqual(await list(), [])
    })

    it("changes a user's roles in sessions that are alive", async () => {
      const { token } = await service.start({ userId: 'promoted', roles: ['shopper'] })
      const { status, body } = await service.call('PUT', '/v1/users/promoted/roles', { body: { roles: ['clerk'] } })
      assert.deepEqual([status, body], [200, { changed: 1 }])
      const verified = await service.call('POST', '/v1/sessions/verify', { body: { token } })
      assert.deepEqual(verified.body.session.roles, ['clerk'])
    })

    it('is alive and ready', async () => {
      const health = await service.call('GET', '/healthz', { as: null })
      assert.deepEqual([health.status, health.body], [200, { status: 'ok' }])
      const { status, body } = await service.call('GET', '/readyz', { as: null })
      assert.deepEqual([status, body.status, body.store], [200, 'ready', engine.name])
      assert.ok('lagMs' in body.feed)
      const ageMs = async () => (await service.call('GET', '/readyz', { as: null })).body.feed.ageMs as number
      await until(async () => (await ageMs()) < 1000, 'a view that is young enough')
    })

    it('keeps what clients may do for a second at most', async () => {
      const as = await service.addClient('short-lived', 'read')
      const call = async () => (await service.call('GET', `/v1/sessions/${noId}`, { as })).status
      assert.equal(await call(), 404)
      await service.removeClient('short-lived')
      const removedAt = performance.now()
      let status = 404
      while (status !== 401) {
        const askedAt = performance.now()
        status = await call()
        assert.ok(status === 401 || askedAt - removedAt < 1000, 'accepted after the bound')
      }
    })
  })
}
