// Who may call what: every call with every permission, and callers that nobody knows.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { permissions } from '../src/permissions.ts'
import { basic, engines, serviceOn, type TestService } from './service.ts'

const id = 'A'.repeat(22)

/** A call and the permissions that suffice for it, besides admin. */
const calls: readonly (readonly [method: string, path: string, ...enough: string[]])[] = [
  ['POST', '/v1/sessions', 'start'],
  ['POST', '/v1/sessions/verify', 'verify'],
  ['POST', '/v1/sessions/refresh', 'start'],
  ['POST', '/v1/assertions', 'assert', 'assert:stock'],
  ['GET', `/v1/sessions/${id}`, 'read'],
  ['DELETE', `/v1/sessions/${id}`, 'end'],
  ['GET', `/v1/sessions/${id}/data`, 'read', 'read:cart'],
  ['GET', `/v1/sessions/${id}/data/cart`, 'read', 'read:cart'],
  ['GET', `/v1/sessions/${id}/data/prefs`, 'read'],
  ['PUT', `/v1/sessions/${id}/data/cart`, 'write', 'write:cart'],
  ['PUT', `/v1/sessions/${id}/data/prefs`, 'write'],
  ['DELETE', `/v1/sessions/${id}/data/cart`, 'write', 'write:cart'],
  ['GET', '/v1/users/ada/sessions', 'read'],
  ['DELETE', '/v1/users/ada/sessions', 'end'],
  ['PUT', '/v1/users/ada/roles'],
  ['GET', '/v1/feed', 'feed'],
  ['POST', '/oauth/introspect', 'verify'],
  ['POST', '/oauth/revoke', 'end'],
]
const held = [...permissions, 'read:cart', 'write:cart', 'assert:stock']

describe('permissions', () => {
  let store: Awaited<ReturnType<(typeof engines)[0]['start']>>
  let service: TestService
  const clients = new Map<string, string>()
  before(async () => {
    store = await engines[0]!.start()
    service = await serviceOn(store.url)
    for (const permission of held) {
      clients.set(permission, await service.addClient(`only-${permission.replace(':', '-')}`, permission))
    }
  })
  after(async () => {
    await service.stop()
    await store.stop()
  })

  for (const [method, path, ...enough] of calls) {
    it(`${method} ${path.replace(id, '{id}')} wants ${enough.join(' or ') || 'admin'}`, async () => {
      for (const permission of held) {
        const { status, body } = await service.call(method, path, { as: clients.get(permission)! })
        if ([...enough, 'admin'].includes(permission)) {
          assert.notEqual(status, 403, `${permission} is enough`)
          assert.notEqual(status, 401)
        } else {
          assert.equal(status, 403, `${permission} is not enough`)
          assert.equal(body.code, 'missing-permission')
          assert.ok(body.detail.includes(enough[0] ?? 'admin'), 'it names the permission')
        }
      }
    })
  }

  it('shows only the sections that a client may read', async () => {
    const session = await service.start({ data: { cart: [1], prefs: {} } })
    const read = async (permission: string) =>
      (await service.call('GET', `/v1/sessions/${session.id}/data`, { as: clients.get(permission)! })).body
    assert.deepEqual(await read('read:cart'), { cart: [1] })
    assert.deepEqual(await read('read'), { cart: [1], prefs: {} })
  })

  it('lets a session begin only with sections that the client may write', async () => {
    const as = await service.addClient('starts-with-cart', 'start', 'write:cart')
    const start = (data: object) => service.call('POST', '/v1/sessions', { as, body: { userId: 'ada', data } })
    assert.equal((await start({ cart: [] })).status, 201)
    const { status, body } = await start({ cart: [], prefs: {} })
    assert.equal(status, 403)
    assert.match(body.detail, /write:prefs/)
  })

  it('knows nobody without the right id and secret', async () => {
    const secret = clients.get('read')!.split(':')[1]!
    const path = `/v1/sessions/${id}`
    const wrong = [
      null,
      'nobody:nothing',
      `only-read:${secret}x`,
      `only-read:${secret.slice(1)}`,
      `only-read:`,
      `Only-Read:${secret}`,
      `only-read${secret}`,
      `:${secret}`,
      `__proto__:${secret}`,
      `${'x'.repeat(70)}:${secret}`,
    ]
    for (const as of wrong) {
      const { status, body, headers } = await service.call('GET', path, { as })
      assert.equal(status, 401, `as ${as}`)
      assert.equal(body.code, 'invalid-client')
      assert.match(headers.get('www-authenticate')!, /^Basic realm="holdfast"/)
    }
    for (const authorization of [
      'Basic',
      'Basic !',
      'Bearer abc',
      `Basic ${'A'.repeat(2000)}`,
      `${basic(clients.get('read')!)} x`,
    ]) {
      assert.equal(
        (await service.call('GET', path, { headers: { authorization } })).status,
        401,
        authorization.slice(0, 20),
      )
    }
    const lower = basic(clients.get('read')!).replace('Basic', 'bAsIc')
    assert.equal((await service.call('GET', path, { headers: { authorization: lower } })).status, 404)
  })

  it('asks for a client before it looks at anything else', async () => {
    const { status } = await service.call('POST', '/v1/sessions', { as: null, body: '{' })
    assert.equal(status, 401)
  })

  it('refuses pages of other sites, whose browser may know the secret', async () => {
    const end = (headers: Record<string, string>) => service.call('DELETE', `/v1/sessions/${id}`, { headers })
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
    ]) {
      const { status, body, headers: answered } = await end(headers as Record<string, string>)
      assert.deepEqual([status, body.code], [403, 'cross-site'])
      assert.equal(answered.get('access-control-allow-origin'), null)
    }
    assert.equal((await end({ 'sec-fetch-site': 'same-origin' })).status, 404)
    assert.equal((await end({ origin: service.url })).status, 404)
  })
})
