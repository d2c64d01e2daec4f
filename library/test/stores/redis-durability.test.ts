// The Redis store with `durability`: what was acknowledged is on the replicas, whatever becomes of the primary.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ConfigError, createSessions, StoreUnavailableError, type SessionRecord } from 'holdfast'
import { redisStore } from 'holdfast/stores/redis'
import { fakeClock, testStore } from 'holdfast/testing'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { startRedisCluster, startRedisSentinel } from '../../../scripts/servers/redis.ts'
import { connected, endings, redis } from '../redis-fixtures.ts'
import { record } from './record.ts'

const deaf = { disableOfflineQueue: true } as const

function clientOf({ url }: { url: string }) {
  return connected(createClient({ url, ...deaf }))
}

/** A primary, and replicas that report to it. */
async function withReplicas(count: number) {
  const primary = await redis()
  const settings = { replicaof: `127.0.0.1 ${primary.port}` }
  const replicas = await Promise.all(Array.from({ length: count }, () => redis(settings)))
  const client = await clientOf(primary)
  await client.publish('any', '')
  while ((await client.wait(count, 5_000)) < count);
  return { primary, replicas, client }
}

const unconfirmed = (confirmed: number, of: number) =>
  new RegExp(`${confirmed} of ${of} replicas confirmed within 500 ms`)

/** On a busy machine replicas take their time, and a call waits for a second at most: there is room on both sides. */
const patiently = (replicas: number) => ({ durability: { replicas, timeout: '500ms' } }) as const

describe('the contract', async () => {
  const { client } = await withReplicas(1)
  let tests = 0
  testStore(
    'redis with durability',
    () => {
      const o = { prefix: `t${tests++}:`, clock: fakeClock(Date.now()), ...patiently(1) }
      return { store: redisStore(client, o), another: () => redisStore(client, o), clock: o.clock }
    },
    { test },
  )
})

test('what was acknowledged is on the replica that takes over, and what was ended is not', async () => {
  const { primary, replicas, client } = await withReplicas(1)
  const replica = replicas[0]!
  const store = redisStore(client, patiently(1))
  const [kept, ended, ending] = [new Set<string>(), new Set<string>(), new Set<string>()]
  /** One session after the other, every second of which ends again, until the primary is gone. */
  async function visitor(): Promise<void> {
    for (let i = 0; ; i++) {
      const first = record()
      await store.put(first, null)
      kept.add(first.id)
      if (i % 2 === 0) continue
      ending.add(first.id)
      await store.delete([first.id])
      ended.add(first.id)
    }
  }
  const all = Array.from({ length: 20 }, visitor)
  const visitors = Promise.allSettled(all)
  while (ended.size < 100) await Promise.race([...all, new Promise((resolve) => setImmediate(resolve))])
  // From here on only the primary has what is written.
  replica.pause()
  await assert.rejects(store.put(record(), null))
  await primary.kill()
  await visitors
  replica.resume()

  const promoted = await clientOf(replica)
  await promoted.sendCommand(['REPLICAOF', 'NO', 'ONE'])
  const successor = redisStore(promoted)
  const listed = new Set((await successor.listByUser('anna')).map(({ id }) => id))
  for (const id of kept) {
    const isThere = (await successor.get(id)) !== null
    if (ended.has(id)) assert.ok(!isThere, 'an ended session is back')
    // An ending that was not acknowledged may have come through.
    else if (!ending.has(id)) assert.ok(isThere && listed.has(id), 'a session that was acknowledged is lost')
  }
})

test('as many replicas as were asked for have to confirm, within the time they have', async () => {
  const { replicas, client } = await withReplicas(2)
  const [one, two] = [redisStore(client, patiently(1)), redisStore(client, patiently(2))]
  const kept = record()
  await two.put(kept, null)
  replicas[0]!.pause()
  assert.equal(await one.put({ ...kept, version: 2 }, 1), true)
  await assert.rejects(two.put({ ...kept, version: 3 }, 2), unconfirmed(1, 2))
  await assert.rejects(two.delete([kept.id]), unconfirmed(1, 2))
  replicas[0]!.resume()
})

test('reads go on while a write waits', async () => {
  const { replicas, client } = await withReplicas(1)
  const store = redisStore(client, patiently(1))
  await store.put(record(), null)
  replicas[0]!.pause()
  let isWaiting = true
  const waiting = assert.rejects(store.put(record(), null), unconfirmed(0, 1)).then(() => (isWaiting = false))
  for (let i = 0; i < 20; i++) await store.get('any')
  assert.ok(isWaiting)
  await waiting
  replicas[0]!.resume()
})

test('ending what is gone from the primary alone waits until the replicas have lost it too', async () => {
  const { replicas, client } = await withReplicas(1)
  const store = redisStore(client, patiently(1))
  const kept = record()
  await store.put(kept, null)
  replicas[0]!.pause()
  await assert.rejects(store.delete([kept.id]), unconfirmed(0, 1))
  assert.equal(await store.get(kept.id), null)
  await assert.rejects(store.delete([kept.id]), unconfirmed(0, 1))
  replicas[0]!.resume()
  await surely(() => store.delete([kept.id]))
  assert.deepEqual(await client.keys('hf:s:*'), [])
  // Servers newer than 7.0 count for WAIT only what wrote something.
  await client.configResetStat()
  await store.delete([kept.id])
  assert.match(await client.info('commandstats'), /cmdstat_del:calls=1/)
})

test('a primary that was replaced does not say that a user has no sessions', async () => {
  const { client, replicas } = await withReplicas(1)
  const store = redisStore(client, patiently(1))
  const own = record({ userId: 'bert' })
  await store.put(own, null)
  assert.deepEqual(await store.listByUser('bert'), [own])
  assert.deepEqual(await store.listByUser('nobody'), [])
  // The one that is asked does not hear of it.
  await (await clientOf(replicas[0]!)).sendCommand(['REPLICAOF', 'NO', 'ONE'])
  await assert.rejects(store.listByUser('bert'), unconfirmed(0, 1))
  await assert.rejects(createSessions({ store }).endUser('nobody'), StoreUnavailableError)
})

test('a write that only the primary has is not acknowledged because a read finds it', async () => {
  const { replicas, client } = await withReplicas(1)
  const store = redisStore(client, { durability: { replicas: 1 } })
  const sessions = createSessions({ store, deadline: '1s' })
  const started = await surely(() => sessions.start('anna'))
  replicas[0]!.pause()
  const { session } = started
  const update = session.update('cart', () => 1)
  await assert.rejects(update, StoreUnavailableError)
  assert.equal((await store.get(session.id!))?.data, '{"cart":1}')
  await assert.rejects(sessions.end(session.id!), StoreUnavailableError)
  assert.equal(await store.get(session.id!), null)
  replicas[0]!.resume()
  await surely(() => sessions.end(session.id!))
  sessions.close()
})

test('while replicas are away nothing can be written, and everyone is let in all the same', async () => {
  const { replicas, client } = await withReplicas(1)
  const sessions = createSessions({ store: redisStore(client, { durability: { replicas: 1 } }) })
  const { token, session } = await surely(() => sessions.start('anna'))
  replicas[0]!.pause()
  for (let i = 0; i < 8; i++) {
    const update = session.update('cart', () => i)
    await assert.rejects(update, StoreUnavailableError)
  }
  assert.equal((await sessions.open(token)).userId, 'anna')
  replicas[0]!.resume()
  await surely(() => session.update('cart', () => 'again'))
  sessions.close()
})

test('a read that settles a write changes nothing, and neither does one of what is absent', async () => {
  const { client } = await withReplicas(1)
  const store = redisStore(client, patiently(1))
  const kept = record()
  await store.put(kept, null)
  const [key] = (await client.keys('hf:s:*')) as [string]
  const endsAt = await client.pExpireTime(key)
  assert.deepEqual(await store.get(kept.id, { settles: true }), kept)
  assert.equal(await client.pExpireTime(key), endsAt)
  assert.equal(await store.get('absent', { settles: true }), null)
  assert.equal(await client.exists('hf:s:absent'), 0)
})

test('writes at the same time share what they wait for', async () => {
  const { client } = await withReplicas(1)
  const store = redisStore(client, patiently(1))
  await store.put(record({ userId: null }), null)
  await client.configResetStat()
  await Promise.all(Array.from({ length: 500 }, () => store.put(record({ userId: null }), null)))
  const waits = Number(/^cmdstat_wait:calls=(\d+)/m.exec(await client.info('commandstats'))?.[1])
  assert.ok(waits >= 1 && waits <= 50, `${waits} WAITs for 500 writes`)
})

test('the connections of the store go with the client', async () => {
  const { primary, client } = await withReplicas(1)
  const watch = await clientOf(primary)
  const connections = async () =>
    String(await watch.sendCommand(['CLIENT', 'LIST', 'TYPE', 'normal']))
      .trim()
      .split('\n').length
  const before = await connections()
  const store = redisStore(client, patiently(1))
  await Promise.all([store.put(record(), null), store.put(record(), null)])
  assert.equal(await connections(), before + 1)
  client.destroy()
  while ((await connections()) > 1) await new Promise((resolve) => setImmediate(resolve))
})

test('a broken connection is replaced, without one left over', async () => {
  const { primary, client } = await withReplicas(1)
  const watch = await clientOf(primary)
  const store = redisStore(client, patiently(1))
  await store.put(record(), null)
  const list = async () =>
    String(await watch.sendCommand(['CLIENT', 'LIST', 'TYPE', 'normal']))
      .trim()
      .split('\n')
  const before = (await list()).length
  for (let i = 0; i < 15; i++) {
    const own = (await list()).find((line) => /cmd=wait/.test(line))!
    await watch.sendCommand(['CLIENT', 'KILL', 'ID', /id=(\d+)/.exec(own)![1]!])
    await surely(() => store.put(record(), null))
  }
  assert.equal((await list()).length, before)
  assert.equal(client.listenerCount('end'), 1)
})

describe('every kind of client', () => {
  test('a pool', async () => {
    const { primary } = await withReplicas(1)
    const pool = createClientPool({ url: primary.url, ...deaf }, { cleanupDelay: 100 })
    await connected(pool)
    const store = redisStore(pool, patiently(1))
    await startsAndEnds(store)
    // What is in its way while the pool closes the connections of a rush must not fail.
    await Promise.all(Array.from({ length: 500 }, () => pool.ping()))
    assert.ok(pool.totalClients > 1)
    while (pool.totalClients > 1) await store.put(record(), null)
  })

  test('Sentinel, also after its primary was killed', async () => {
    const { name, master, sentinels, sentinelRootNodes, stop } = await startRedisSentinel({ replicas: 2 })
    endings.push(stop)
    // With less, Sentinel may take a second failover of the new primary, which is ten seconds without replicas (docs/failover.md).
    const watch = await clientOf(sentinels[0]!)
    await watch.sendCommand(['SENTINEL', 'SET', name, 'down-after-milliseconds', '2000'])
    const client = createSentinel({ name, sentinelRootNodes: [...sentinelRootNodes], nodeClientOptions: deaf })
    await connected(client)
    const store = redisStore(client, patiently(1))
    const kept = await startsAndEnds(store)
    await master.kill()
    await surely(() => store.put(record(), null))
    assert.deepEqual(await store.get(kept.id), kept)
  })

  test('a Cluster, also after a master handed over and another one was killed', async () => {
    const { nodes, rootNodes, stop } = await startRedisCluster({ replicas: 2 })
    endings.push(stop)
    const client = createCluster({
      rootNodes: [...rootNodes],
      defaults: deaf,
      topologyRefreshOnReconnectionAttemptStrategy: 200,
    })
    await connected(client)
    const store = redisStore(client, patiently(1))
    const kept = await Promise.all(Array.from({ length: 30 }, () => startsAndEnds(store)))
    const everyone = async (version: number) => {
      for (const one of kept) await surely(() => store.put({ ...one, version }, version - 1))
      for (const one of kept) assert.equal((await store.get(one.id))?.version, version)
    }
    // It lives on as a replica and answers MOVED.
    const successor = await clientOf(nodes[3 + 1]!)
    await successor.sendCommand(['CLUSTER', 'FAILOVER'])
    while (!String(await successor.sendCommand(['ROLE'])).startsWith('master'));
    await everyone(2)
    await nodes[0]!.kill()
    await everyone(3)
  })
})

test('options that can not work are refused, naming them', async () => {
  const client = createClient()
  for (const durability of [{ replicas: 0 }, { replicas: 1.5 }, { replicas: 1, timeout: '1s' as const }]) {
    assert.throws(
      () => redisStore(client, { durability }),
      (error) => error instanceof ConfigError && /durability\./.test(error.message),
    )
  }
  const prefixed = createClient({ keyPrefix: 'a:' })
  assert.throws(() => redisStore(prefixed, { durability: { replicas: 1 } }), /keyPrefix/)
})

/** Starts three sessions, ends one and lists the others; answers one that lives. */
async function startsAndEnds(store: ReturnType<typeof redisStore>): Promise<SessionRecord> {
  const userId = crypto.randomUUID()
  const [one, two, three] = [record({ userId }), record({ userId }), record({ userId })]
  await Promise.all([one, two, three].map((each) => store.put(each, null)))
  assert.deepEqual(await store.delete([one.id]), [one.id])
  assert.equal(await store.put({ ...two, version: 2, expiresAt: 0 }, 1), true)
  assert.deepEqual(await store.listByUser(userId), [three])
  return three
}

/** As a caller who is told to come back. */
async function surely<T>(call: () => Promise<T>): Promise<T> {
  for (const until = performance.now() + 20_000; ;) {
    try {
      return await call()
    } catch (error) {
      if (performance.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}
