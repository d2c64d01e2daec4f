// While Redis is away: an answer in time, nobody signed out, and recovery without a restart.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { createClient } from 'redis'
import { startRedis, startRedisCluster, startRedisSentinel } from '../../scripts/servers/redis.ts'
import { adminSecret, keepSecret, holdfast, serve, until, type Answer, type ServedProcess } from './service.ts'

/** Several deadlines of 500 ms, and a machine that is busy. */
const inTimeMs = 5_000
const folder = mkdtempSync(join(tmpdir(), 'holdfast-outage-'))
after(() => rmSync(folder, { recursive: true }))

describe('while Redis is away', () => {
  // It keeps what it has on disk, so that a kill is an outage and no loss.
  const data = mkdtempSync(join(folder, 'redis-'))
  const settings = { appendonly: 'yes', appendfsync: 'always' }
  let redis: Awaited<ReturnType<typeof startRedis>>
  let service: ServedProcess
  let shop: string
  let session: { id: string; token: string }
  before(async () => {
    redis = await startRedis({ folder: data, settings })
    const env = { HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: redis.url }
    service = await serve(env)
    const secret = holdfast(['clients', 'add', 'shop', '--permissions', 'verify'], env).out.trim()
    keepSecret(secret)
    shop = `shop:${secret}`
  })
  beforeEach(async () => {
    session = await service.start()
  })
  after(async () => {
    assert.equal(await service.end(), 0)
    await redis.stop()
  })

  const verify = (as = `admin:${adminSecret}`) =>
    service.call('POST', '/v1/sessions/verify', { as, body: { token: session.token } })
  const active = async () => (await verify()).body?.active === true

  async function assertOutage(): Promise<void> {
    // For as long as the view of endings is young, the cache answers.
    await until(async () => (await verify()).status === 503, 'what was verified before is no longer believed')
    const calls: readonly (() => Promise<Answer>)[] = [
      () => verify(),
      () => verify(shop),
      () => service.call('POST', '/v1/sessions', { body: { userId: 'ada' } }),
      () => service.call('DELETE', `/v1/sessions/${session.id}`),
      () => service.call('GET', `/v1/sessions/${session.id}/data`),
      () => service.call('GET', '/v1/users/ada/sessions'),
      () => service.call('GET', '/readyz'),
    ]
    for (const call of calls) {
      const askedAt = performance.now()
      const { status, headers, body } = await call()
      assert.ok(performance.now() - askedAt < inTimeMs)
      assert.deepEqual([status, body.code], [503, 'store-unavailable'])
      assert.ok(Number(headers.get('retry-after')) >= 1)
    }
    const oauth = await service.call('POST', '/oauth/introspect', { form: { token: session.token } })
    assert.deepEqual([oauth.status, oauth.body.error], [503, 'temporarily_unavailable'])
    assert.equal((await service.call('GET', '/healthz')).status, 200)
    assert.match((await service.call('GET', '/metrics')).text, /^http_server_request_duration_seconds_count/m)
  }

  it('paused, every call is answered 503 in time, and it recovers', async () => {
    redis.pause()
    await assertOutage()
    await until(async () => (await service.call('GET', '/metrics')).text.includes('holdfast_store_up 0'), 'the metric')
    redis.resume()
    await until(async () => (await service.call('GET', '/readyz')).status === 200, 'ready again')
    assert.match((await service.call('GET', '/metrics')).text, /holdfast_store_up 1/)
    await until(async () => (await verify(shop)).status === 200, 'clients known again')
  })

  it('killed and started again, it recovers without a restart', async () => {
    assert.equal(await active(), true)
    await redis.kill()
    await assertOutage()
    redis = await startRedis({ port: redis.port, folder: data, settings })
    await until(async () => (await service.call('GET', '/readyz')).status === 200, 'ready again')
    await until(active, 'the session, which is alive')
  })

  it('says so in the log, once for each change', async () => {
    await until(async () => /connected to the store again/.test(service.output()), 'the log')
    const lines = service
      .output()
      .split('\n')
      .filter((line) => line.includes('"the connection to the store is lost'))
    assert.ok(lines.length >= 1 && lines.length <= 3, `${lines.length} lines`)
    assert.match(service.output(), /"the store does not answer"/)
  })
})

describe('while the feed is away and the store is not', () => {
  let redis: Awaited<ReturnType<typeof startRedis>>
  let service: ServedProcess
  before(async () => {
    redis = await startRedis()
    const HOLDFAST_STORE = `sqlite:${join(folder, 'feedless.db')}`
    service = await serve({ HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE, HOLDFAST_FEED: redis.url })
    await until(fresh, 'the first step')
  })
  after(async () => {
    assert.equal(await service.end(), 0)
    await redis.stop()
  })

  const metric = async (name: string) => {
    const { text } = await service.call('GET', '/metrics')
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
  }
  const fresh = async () => (await metric('holdfast_feed_fresh')) === 1
  const verify = async (token: string) => (await service.call('POST', '/v1/sessions/verify', { body: { token } })).body

  it('asks the store, says how old its view is, and does not promise an end', async () => {
    const [opaque, signed] = [await service.start(), await service.startSigned()]
    for (const token of [opaque.token, signed.accessToken]) assert.equal((await verify(token)).active, true)
    const { body: before } = await service.call('GET', '/v1/feed')
    redis.pause()
    await until(async () => !(await fresh()), 'the view is too old')
    const { status, body } = await service.call('GET', '/readyz')
    assert.deepEqual([status, body.status], [200, 'ready'])
    assert.ok(body.feed.ageMs > 1000)
    for (const token of [opaque.token, signed.accessToken]) assert.equal((await verify(token)).active, true)
    const polled = (await service.call('GET', `/v1/feed?since=${before.cursor}`)).body
    const later = (await service.call('GET', `/v1/feed?since=${before.cursor}&wait=100`)).body
    assert.ok(polled.ageMs > 1000 && later.ageMs >= polled.ageMs + 100, 'it grows old')
    for (const [{ id }, token] of [
      [opaque, opaque.token],
      [signed, signed.accessToken],
    ] as const) {
      const ended = await service.call('DELETE', `/v1/sessions/${id}`)
      assert.deepEqual([ended.status, ended.body.code], [503, 'store-unavailable'])
      assert.equal((await verify(token)).active, true, 'or nobody could find it to end it again')
    }
    redis.resume()
    await until(fresh, 'followed again')
    const notices: { ids?: string[] }[] = []
    await until(async () => {
      notices.push(...(await service.call('GET', `/v1/feed`)).body.notices)
      return [opaque.id, signed.id].every((id) => notices.some(({ ids }) => ids?.includes(id)))
    }, 'the endings, published at last')
    for (const token of [opaque.token, signed.accessToken]) assert.equal((await verify(token)).active, false)
    await until(() => /"the feed does not answer[^]*"the feed answers again"/.test(service.output()), 'both in the log')
  })
})

describe('through Sentinel and Cluster', () => {
  it('works, and finds the new master after a failover', async () => {
    const { sentinels, master, name, stop } = await startRedisSentinel({
      replicas: 1,
      settings: { 'repl-diskless-sync-delay': '0' },
    })
    const store = `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${name}`
    const service = await serve({ HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: store })
    const { id, token } = await service.start({ data: { cart: [1] } })
    assert.deepEqual((await service.call('GET', `/v1/sessions/${id}/data`)).body, { cart: [1] })
    const { code, out } = holdfast(['doctor'], {
      HOLDFAST_STORE: store,
      HOLDFAST_ADMIN_SECRET: adminSecret,
      HOLDFAST_DATA: join(folder, 'none'),
    })
    assert.equal(code, 0, out)
    await service.call('DELETE', `/v1/sessions/${id}`)
    // Left alone, a sentinel waits for half a minute.
    const sentinel = createClient({ url: sentinels[0]!.url, RESP: 2 })
    await sentinel.connect()
    await sentinel.sendCommand(['SENTINEL', 'SET', name, 'down-after-milliseconds', '500'])
    sentinel.destroy()
    await master.kill()
    await until(
      async () => (await service.call('POST', '/v1/sessions', { body: { userId: 'ada' } })).status === 201,
      'a new master',
    )
    assert.equal((await service.call('POST', '/v1/sessions/verify', { body: { token } })).body.active, false)
    assert.equal(await service.end(), 0)
    await stop()
  })

  it('works on a cluster', async () => {
    const { nodes, stop } = await startRedisCluster()
    const store = `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`
    const env = { HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: store, HOLDFAST_DATA: join(folder, 'none') }
    const service = await serve(env)
    for (let i = 0; i < 20; i++) {
      const { id, token } = await service.start({ userId: `user-${i}` })
      assert.equal((await service.call('POST', '/v1/sessions/verify', { body: { token } })).body.session.id, id)
      assert.equal((await service.call('GET', `/v1/users/user-${i}/sessions`)).body.sessions.length, 1)
    }
    assert.equal(holdfast(['sessions', 'list', '--limit', '100'], env).out.trimEnd().split('\n').length, 21)
    const { code, out } = holdfast(['doctor'], env)
    assert.equal(code, 0, out)
    assert.equal(await service.end(), 0)
    await stop()
  })
})
