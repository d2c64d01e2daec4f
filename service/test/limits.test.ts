// Failures are limited by address; what succeeds is not.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { cachedClients, type ClientRegistry } from '../src/clients.ts'
import { countFailures, failureLimits, peerOf } from '../src/http/limits.ts'
import { createLogger } from '../src/logs.ts'
import { engines, serviceOn, type Answer, type TestService } from './service.ts'

describe('too many failures', () => {
  let store: Awaited<ReturnType<(typeof engines)[0]['start']>>
  let service: TestService
  before(async () => {
    store = await engines[0]!.start()
    service = await serviceOn(store.url)
  })
  after(async () => {
    await service.stop()
    await store.stop()
  })

  function assertLimited({ status, headers, body }: Answer): void {
    assert.deepEqual([status, body.code], [429, 'too-many-failures'])
    const seconds = Number(headers.get('retry-after'))
    assert.ok(seconds >= 1 && seconds <= 60)
  }

  it('with wrong secrets are answered 429, while the right one is let in', async () => {
    const wrong = () => service.call('GET', '/v1/users/ada/sessions', { as: 'admin:wrong' })
    for (let i = 0; i < failureLimits.client; i++) assert.equal((await wrong()).status, 401)
    assertLimited(await wrong())
    assertLimited(await service.call('GET', '/v1/users/ada/sessions', { as: 'nobody:x' }))
    assert.equal((await service.call('GET', '/v1/users/ada/sessions')).status, 200)
  })

  it('with forged tokens are answered 429, while good ones and those of yesterday are answered', async () => {
    const { id, token } = await service.start()
    const verify = (token: string) => service.call('POST', '/v1/sessions/verify', { body: { token } })
    const forged = `${id}.${'A'.repeat(43)}`
    for (let i = 0; i < failureLimits.forged; i++) assert.equal((await verify(forged)).body.reason, 'mismatch')
    assertLimited(await verify(forged))
    assertLimited(await verify('malformed'))
    assertLimited(await service.call('POST', '/oauth/introspect', { form: { token: forged } }))
    assertLimited(await service.call('POST', '/oauth/revoke', { form: { token: forged } }))
    assert.equal((await verify(token)).body.active, true)
    await service.call('DELETE', `/v1/sessions/${id}`)
    for (let i = 0; i <= failureLimits.forged; i++) assert.equal((await verify(token)).body.reason, 'ended')
  })
})

it('says in the log that many tokens are of yesterday, once, and refuses none', async () => {
  const lines: unknown[] = []
  const limits = countFailures(createLogger('info', { write: (line: string) => void lines.push(JSON.parse(line)) }))
  for (let i = 0; i < failureLimits.unknown + 10; i++) await limits.note('192.0.2.1', 'shop')
  assert.equal(lines.length, 1)
})

it('counts addresses that belong together as one', () => {
  const same: readonly (readonly string[])[] = [
    ['192.0.2.1', '::ffff:192.0.2.1', '::FFFF:192.0.2.1'],
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', '2001:0DB8:0001:0002::', '2001:db8:1:2:3::9'],
    ['::1', '::2', '0:0:0:0:1::'],
    ['fe80::1%eth0', 'fe80::2'],
    ['2001:db8::1:0:0:1', '2001:db8:0:0::'],
  ]
  for (const [first, ...others] of same) for (const other of others) assert.equal(peerOf(other), peerOf(first))
  assert.equal(new Set(same.map(([first]) => peerOf(first))).size, same.length)
  assert.notEqual(peerOf('192.0.2.1'), peerOf('192.0.2.2'))
  assert.notEqual(peerOf('2001:db8:1:2::1'), peerOf('2001:db8:1:3::1'))
})

it('asks no store about clients right after it failed to answer', async () => {
  let [time, asked] = [1000, 0]
  const admin = { id: 'admin', permissions: new Set(['admin']), secretHash: '' }
  const registry = { find: () => (asked++, Promise.reject(new Error('away'))) } as unknown as ClientRegistry
  const find = cachedClients(registry, admin, () => time)
  await assert.rejects(async () => find('shop'), /away/)
  assert.throws(() => find('till'), { code: 'store-unavailable' })
  assert.equal(find('admin'), admin)
  time += 500
  await assert.rejects(async () => find('till'), /away/)
  assert.equal(asked, 2)
})

it('takes at most 100 sections at the start of a session', async () => {
  const store = await engines[0]!.start()
  const service = await serviceOn(store.url)
  const data = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`s${i}`, 1]))
  const { status, body } = await service.call('POST', '/v1/sessions', { body: { userId: 'ada', data } })
  assert.deepEqual([status, body.code], [400, 'invalid-request'])
  assert.match(body.detail, /at most 100 sections/)
  await service.stop()
  await store.stop()
})
