// Several services on one store are one service.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { engines, serviceOn, type TestService } from './service.ts'

for (const engine of engines) {
  describe(`two replicas on ${engine.name}`, () => {
    let store: Awaited<ReturnType<typeof engine.start>>
    let one: TestService
    let two: TestService
    before(async () => {
      store = await engine.start()
      one = await serviceOn(store.url)
      two = await serviceOn(store.url)
    })
    after(async () => {
      await one.stop()
      await two.stop()
      await store.stop()
    })

    it('what is started on one is accepted on the other, and what is ended on one is refused on the other at once', async () => {
      const { id, token } = await one.start()
      const verify = async () => (await two.call('POST', '/v1/sessions/verify', { body: { token } })).body.active
      assert.equal(await verify(), true)
      await one.call('DELETE', `/v1/sessions/${id}`)
      assert.equal(await verify(), false)
    })

    it('what is ended while the other is asked all the time is accepted never again', async () => {
      const { id, token } = await one.start()
      let endedAt = Infinity
      const asking = Array.from({ length: 4 }, async () => {
        for (;;) {
          const askedAt = performance.now()
          const { body } = await two.call('POST', '/v1/sessions/verify', { body: { token } })
          if (body.active === false) return
          assert.ok(askedAt < endedAt, 'accepted after the end was answered')
        }
      })
      await one.call('DELETE', `/v1/sessions/${id}`)
      endedAt = performance.now()
      await Promise.all(asking)
    })

    it('a client added through one may call the other', async () => {
      const as = await one.addClient('everywhere', 'start')
      assert.equal((await two.call('POST', '/v1/sessions', { as, body: { userId: 'ada' } })).status, 201)
    })

    it('roles changed on one are the roles on the other', async () => {
      const { token } = await one.start({ userId: 'bob', roles: ['admin'] })
      await two.call('PUT', '/v1/users/bob/roles', { body: { roles: [] } })
      const { body } = await one.call('POST', '/v1/sessions/verify', { body: { token } })
      assert.deepEqual(body.session.roles, [])
    })
  })
}
