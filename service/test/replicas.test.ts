// Several services on one store are one service.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { startPostgres } from '../../scripts/servers/postgres.ts'
import { startRedis } from '../../scripts/servers/redis.ts'
import { adminSecret, engines, holdfast, issuer, keySecret, serviceOn, until, type TestService } from './service.ts'

/** HOLDFAST_MAX_STALENESS, unset. */
const boundMs = 1_000

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

    const verify = async (at: TestService, token: string) =>
      (await at.call('POST', '/v1/sessions/verify', { body: { token } })).body

    it('what is started on one is accepted on the other, and what is ended on one is refused there at once', async () => {
      const { id, token } = await one.start()
      assert.equal((await verify(two, token)).active, true)
      await two.call('DELETE', `/v1/sessions/${id}`)
      assert.deepEqual(await verify(two, token), { active: false, reason: 'ended' })
    })

    it('what is ended while the other is asked all the time is accepted within the bound, and never again', async () => {
      const { id, token } = await one.start()
      const { accessToken, id: signedId } = await one.startSigned()
      const ended = new Map<string, number>()
      const asking = [token, accessToken].flatMap((presented) =>
        Array.from({ length: 4 }, async () => {
          for (let refused = 0; refused < 20;) {
            const askedAt = performance.now()
            const { active } = await verify(two, presented)
            assert.ok(!active || refused === 0, 'accepted again')
            assert.ok(!active || askedAt < (ended.get(presented) ?? Infinity) + boundMs, 'accepted after the bound')
            if (!active) refused++
          }
        }),
      )
      for (const [session, presented] of [
        [id, token],
        [signedId, accessToken],
      ] as const) {
        await one.call('DELETE', `/v1/sessions/${session}`)
        ended.set(presented, performance.now())
      }
      await Promise.all(asking)
    })

    it('what is ended and settled on one is refused everywhere from the answer on', async () => {
      for (let i = 0; i < 3; i++) {
        const { id, token } = await one.start({ userId: 'settled' })
        const other = await one.startSigned({ userId: 'settled' })
        for (const each of [token, other.accessToken]) assert.equal((await verify(two, each)).active, true)
        await one.call('DELETE', `/v1/sessions/${id}?settled=true`)
        assert.equal((await verify(two, token)).active, false)
        await one.call('DELETE', '/v1/users/settled/sessions?settled=true')
        assert.equal((await verify(two, other.accessToken)).active, false)
      }
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

describe('three replicas on one Redis', () => {
  let redis: Awaited<ReturnType<typeof startRedis>>
  let replicas: TestService[]
  const env = () => ({
    HOLDFAST_STORE: redis.url,
    HOLDFAST_ADMIN_SECRET: adminSecret,
    HOLDFAST_SECRET: keySecret,
    HOLDFAST_ISSUER: issuer,
  })
  before(async () => {
    redis = await startRedis()
    // All at once: they agree on one key.
    replicas = await Promise.all([1, 2, 3].map(() => serviceOn(redis.url)))
  })
  after(async () => {
    for (const replica of replicas) await replica.stop()
    await redis.stop()
  })

  const verify = async (at: TestService, token: string) =>
    (await at.call('POST', '/v1/sessions/verify', { body: { token } })).body
  const kids = async (at: TestService) =>
    (await at.call('GET', '/.well-known/jwks.json')).body.keys.map(({ kid }: { kid: string }) => kid) as string[]
  const kidOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()).kid as string

  it('have the same keys, and accept what any of them signed', async () => {
    const published = await Promise.all(replicas.map(kids))
    assert.deepEqual(published[1], published[0])
    assert.deepEqual(published[2], published[0])
    for (const from of replicas) {
      const { accessToken } = await from.startSigned()
      for (const at of replicas) assert.equal((await verify(at, accessToken)).active, true)
    }
  })

  it('refuse on all what was ended on one, within the bound', async () => {
    const { id, accessToken } = await replicas[0]!.startSigned()
    for (const at of replicas) assert.equal((await verify(at, accessToken)).active, true)
    await replicas[1]!.call('DELETE', `/v1/sessions/${id}`)
    const endedAt = performance.now()
    await Promise.all(
      replicas.map(async (at) => {
        for (let active = true; active;) {
          const askedAt = performance.now()
          active = (await verify(at, accessToken)).active
          assert.ok(!active || askedAt - endedAt < boundMs, 'accepted after the bound')
        }
      }),
    )
  })

  it('give one successor for a refresh token, whoever is asked first', async () => {
    let { refreshToken } = await replicas[0]!.startSigned()
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(
        [...replicas, ...replicas].map((at) => at.call('POST', '/v1/sessions/refresh', { body: { refreshToken } })),
      )
      assert.ok(answers.every(({ status }) => status === 200))
      const successors = new Set(answers.map(({ body }) => body.refreshToken))
      assert.equal(successors.size, 1)
      ;[refreshToken] = [...successors] as [string]
    }
  })

  it('end the session when one is spent on one and comes back to another', async () => {
    const first = await replicas[0]!.startSigned()
    const spend = async (at: TestService, refreshToken: string) =>
      (await at.call('POST', '/v1/sessions/refresh', { body: { refreshToken } })).body
    const second = await spend(replicas[1]!, first.refreshToken)
    const third = await spend(replicas[2]!, second.refreshToken)
    assert.equal((await spend(replicas[0]!, first.refreshToken)).code, 'refresh-reused')
    await until(async () => (await verify(replicas[1]!, third.accessToken)).active === false, 'the end')
  })

  it('sign with a new key when told to, and refuse one that was retired', async () => {
    const [before, unseen] = [await replicas[0]!.startSigned(), await replicas[0]!.startSigned()]
    const rotated = holdfast(['keys', 'rotate', '--now'], env())
    assert.equal(rotated.code, 0, rotated.err)
    assert.doesNotMatch(rotated.out, /"d"|private/)
    const newKid = /^(\S+) +EdDSA +current/m.exec(rotated.out)![1]!
    for (const at of replicas) {
      await until(async () => kidOf((await at.startSigned()).accessToken) === newKid, 'the new key signs')
      assert.equal((await verify(at, before.accessToken)).active, true, 'the old one is still good')
    }
    const oldKid = kidOf(before.accessToken)
    const retired = holdfast(['keys', 'retire', oldKid], env())
    assert.equal(retired.code, 0, retired.err)
    for (const at of replicas) {
      await until(async () => !(await kids(at)).includes(oldKid), 'the old key is gone')
      assert.deepEqual(await verify(at, unseen.accessToken), { active: false, reason: 'unknown-key' })
    }
    assert.equal(holdfast(['keys', 'retire', oldKid], env()).code, 1)
    assert.doesNotMatch(holdfast(['keys', 'list'], env()).out, new RegExp(oldKid))
  })

  it('let a follower go from one to the other without missing anything', async () => {
    const poll = async (at: TestService, since: string) =>
      (await at.call('GET', `/v1/feed${since === '' ? '' : `?since=${since}&wait=250`}`)).body
    let since = ''
    for (let i = 0; i < 30; i++) {
      const { id } = await replicas[i % 3]!.start()
      await replicas[(i + 1) % 3]!.call('DELETE', `/v1/sessions/${id}`)
      const heardAt = async (at: TestService): Promise<string> => {
        const { notices, cursor, gap } = await poll(at, since)
        assert.equal(gap, false)
        return notices.some(({ ids }: { ids?: string[] }) => ids?.includes(id)) ? cursor : heardAt(at)
      }
      // One that is behind may call the place of another a gap, so all are to have heard of it first.
      const cursors = await Promise.all(replicas.map(heardAt))
      since = cursors[i % 3]!
    }
  })
})

it('two replicas hear of each other through PostgreSQL', async () => {
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()])
  const env = { HOLDFAST_FEED: postgres.url }
  const [one, two] = await Promise.all([serviceOn(redis.url, env), serviceOn(redis.url, env)])
  for (const { token, id } of [await one.start(), await one.start()]) {
    const active = async () =>
      (await two.call('POST', '/v1/sessions/verify', { body: { token } })).body.active as boolean
    assert.equal(await active(), true)
    await one.call('DELETE', `/v1/sessions/${id}?settled=true`)
    assert.equal(await active(), false)
  }
  const wrong = new URL(postgres.url)
  wrong.pathname = '/nowhere'
  const { code, err } = holdfast(['sessions', 'list'], { HOLDFAST_STORE: redis.url, HOLDFAST_FEED: wrong.href })
  assert.equal(code, 1)
  assert.match(err, /^holdfast: HOLDFAST_FEED: PostgreSQL at \S+ has no such database: /)
  await one.stop()
  await two.stop()
  await postgres.stop()
  await redis.stop()
})
