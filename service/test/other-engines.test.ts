// The service on engines without a feed of their own: DynamoDB with the feed of a Redis; MongoDB where MONGODB_URL names one.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { startDynamodb } from '../../scripts/servers/dynamodb.ts'
import { startRedis } from '../../scripts/servers/redis.ts'
import type { Server } from '../../scripts/servers/server.ts'
import { openEngine } from '../src/engines/engine.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { StartError } from '../src/start-error.ts'
import { adminSecret, holdfast, issuer, serviceOn, type TestService } from './service.ts'

describe('two replicas on DynamoDB, with the feed of a Redis', () => {
  let [engine, feed]: Server[] = []
  let [one, two]: TestService[] = []
  const store = () => `dynamodb+http://127.0.0.1:${engine!.port}/sessions`

  before(async () => {
    ;[engine, feed] = await Promise.all([startDynamodb(), startRedis()])
    const env = { HOLDFAST_FEED: feed.url }
    one = await serviceOn(store(), env)
    two = await serviceOn(store(), env)
  })
  after(async () => {
    await one?.stop()
    await two?.stop()
    await engine?.stop()
    await feed?.stop()
  })

  it('what is started on one is accepted on the other, and what is ended on one is refused there', async () => {
    const { id, token } = await one!.start()
    const verify = async () => (await two!.call('POST', '/v1/sessions/verify', { body: { token } })).body
    assert.equal((await verify()).active, true)
    await one!.call('DELETE', `/v1/sessions/${id}?settled=true`)
    assert.deepEqual(await verify(), { active: false, reason: 'ended' })
  })

  it('a client added on one may call the other', async () => {
    const as = await one!.addClient('shop', 'start', 'verify')
    const { status } = await two!.call('POST', '/v1/sessions', { as, body: { userId: 'ada' } })
    assert.equal(status, 201)
  })

  it('all sessions of a user are listed and ended', async () => {
    const userId = 'with-several'
    for (let i = 0; i < 3; i++) await one!.start({ userId })
    const list = async () => (await two!.call('GET', `/v1/users/${userId}/sessions`)).body
    assert.equal((await list()).sessions.length, 3)
    await two!.call('DELETE', `/v1/users/${userId}/sessions`)
    assert.equal((await list()).sessions.length, 0)
  })

  it('needs a feed by name', () => {
    const env = { HOLDFAST_STORE: store(), HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_ISSUER: issuer }
    const { code, err } = holdfast(['serve'], env)
    assert.equal(code, 1)
    assert.match(err, /HOLDFAST_FEED: this store has no feed of its own/)
  })

  it('doctor says that nothing removes what has expired', async () => {
    const { sessions, inspect, close } = await openEngine(parseStoreUrl(store()))
    const findings = await inspect()
    await close()
    assert.ok(sessions.scan)
    assert.deepEqual(
      findings.map(({ what, ok }) => [what, ok]),
      [
        ['DynamoDB table sessions', true],
        ['time to live of sessions', false],
        ['DynamoDB table sessions-clients', true],
        ['time to live of sessions-clients', false],
      ],
    )
    assert.match(findings[1]!.advice!, /update-time-to-live --table-name sessions /)
  })
})

describe('what is refused at the start', () => {
  const refusal = async (url: string): Promise<string> => {
    try {
      await (await openEngine(parseStoreUrl(url))).close()
    } catch (error) {
      assert.ok(error instanceof StartError, String(error))
      return error.message
    }
    return 'nothing'
  }

  it('a DynamoDB that does not answer', async () => {
    assert.match(await refusal('dynamodb+http://127.0.0.1:1/sessions'), /can't be used \(ECONNREFUSED\)/)
  })

  it('credentials in the URL of a DynamoDB, without repeating them', async () => {
    const message = await refusal('dynamodb://key:secret-of-the-url@eu-west-1/sessions')
    assert.match(message, /without credentials, which come from the environment/)
    assert.doesNotMatch(message, /secret-of-the-url/)
  })

  it('a MongoDB that does not answer, without repeating its password', async () => {
    const message = await refusal('mongodb://ada:secret-of-the-url@127.0.0.1:1/sessions')
    assert.match(
      message,
      /MongoDB at mongodb:\/\/127\.0\.0\.1:\d+\/sessions can't be reached, or has no primary \(ECONNREFUSED\): see/,
    )
    assert.doesNotMatch(message, /secret-of-the-url/)
  })

  it('parameters that the driver of MongoDB does not know', async () => {
    const message = await refusal('mongodb://ada:secret-of-the-url@127.0.0.1/sessions?nonsense=1')
    assert.match(message, /is no URL that MongoDB's driver takes/)
    assert.doesNotMatch(message, /secret-of-the-url/)
  })
})

const mongodb = process.env['MONGODB_URL'] ?? ''

describe('a service on MongoDB', { skip: mongodb === '' && 'needs a replica set at MONGODB_URL' }, () => {
  it('starts, verifies and ends sessions', async () => {
    const feed = await startRedis()
    const service = await serviceOn(mongodb, { HOLDFAST_FEED: feed.url })
    const { id, token } = await service.start()
    const verify = async () => (await service.call('POST', '/v1/sessions/verify', { body: { token } })).body
    assert.equal((await verify()).active, true)
    await service.call('DELETE', `/v1/sessions/${id}`)
    assert.deepEqual(await verify(), { active: false, reason: 'ended' })
    await service.stop()
    await feed.stop()
  })
})
