// What is said of a Redis that keeps sessions: on real servers with each setting that matters.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redisFindings } from 'holdfast/stores/redis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { startRedisCluster, startRedisSentinel } from '../../../scripts/servers/redis.ts'
import { connected, endings, redis } from '../redis-fixtures.ts'

async function wrongOf(client: Parameters<typeof redisFindings>[0]): Promise<Record<string, string>> {
  const wrong = (await redisFindings(client)).filter(({ ok }) => !ok)
  return Object.fromEntries(wrong.map(({ what, found, advice }) => [what, `${found}: ${advice}`]))
}

const silent = { commandOptions: { timeout: undefined as never } }

test('a server that is set up well, by every kind of client, is found so', async () => {
  const server = await redis({ appendonly: 'yes' })
  const client = await connected(createClient({ url: server.url, ...silent }))
  for (const { what, ok, advice } of await redisFindings(client)) assert.deepEqual([ok, advice], [true, null], what)
  assert.deepEqual(await wrongOf(await connected(createClientPool({ url: server.url }))), {})

  const cluster = await startRedisCluster({ masters: 1 })
  endings.push(cluster.stop)
  assert.deepEqual(await wrongOf(await connected(createCluster({ rootNodes: [...cluster.rootNodes] }))), {})

  const { name, sentinelRootNodes, stop } = await startRedisSentinel()
  endings.push(stop)
  assert.deepEqual(
    await wrongOf(await connected(createSentinel({ name, sentinelRootNodes: [...sentinelRootNodes] }))),
    {},
  )
})

test('every policy that evicts is found', async () => {
  const client = await connected(createClient({ url: (await redis()).url }))
  for (const memory of ['0', '64mb']) {
    await client.configSet('maxmemory', memory)
    for (const which of [
      'allkeys-lru',
      'allkeys-lfu',
      'allkeys-random',
      'volatile-lru',
      'volatile-lfu',
      'volatile-random',
      'volatile-ttl',
    ]) {
      await client.configSet('maxmemory-policy', which)
      const { 'Redis eviction': eviction } = await wrongOf(client)
      assert.match(
        eviction!,
        memory === '0' ? /would drop sessions as soon as/ : /drops sessions when the memory is full/,
      )
      assert.match(eviction!, new RegExp(`^${which}, .*noeviction$`))
    }
    await client.configSet('maxmemory-policy', 'noeviction')
    assert.deepEqual(await wrongOf(client), {})
  }
})

test('one master of a Cluster that evicts is found among the others', async () => {
  const { nodes, rootNodes, stop } = await startRedisCluster()
  endings.push(stop)
  await (await connected(createClient({ url: nodes[2]!.url }))).configSet('maxmemory-policy', 'allkeys-lru')
  const { 'Redis eviction': eviction } = await wrongOf(await connected(createCluster({ rootNodes: [...rootNodes] })))
  assert.match(eviction!, new RegExp(`^allkeys-lru, .*:${nodes[2]!.port}`))
})

test('a replica, a full memory, and no append-only file', async () => {
  const master = await redis()
  const client = await connected(createClient({ url: master.url }))
  const replica = await connected(createClient({ url: (await redis({ replicaof: `127.0.0.1 ${master.port}` })).url }))
  assert.match((await wrongOf(replica))['Redis role']!, /takes no writes/)
  const persistence = (await redisFindings(client)).find(({ what }) => what === 'Redis persistence')
  assert.match(persistence!.advice!, /appendonly yes/)
  await client.configSet('maxmemory', '1mb')
  assert.match((await wrongOf(client))['Redis memory']!, /raise maxmemory/)
})

test('a client that reads from replicas is found, and one with a timer per command is told', async () => {
  const { nodes, rootNodes, stop } = await startRedisCluster({ replicas: 1 })
  endings.push(stop)
  const cluster = await connected(createCluster({ rootNodes: [...rootNodes], useReplicas: true }))
  assert.match((await wrongOf(cluster))['Redis client']!, /may not have heard of an ending/)
  const [first] = await redisFindings(await connected(createClient({ url: nodes[0]!.url })))
  assert.match(first!.advice!, /commandOptions/)

  const { name, sentinelRootNodes, stop: end } = await startRedisSentinel()
  endings.push(end)
  const o = { name, sentinelRootNodes: [...sentinelRootNodes], replicaPoolSize: 1 }
  assert.match((await wrongOf(await connected(createSentinel(o))))['Redis client']!, /may not have heard of an ending/)
})

test('a client that is none of node-redis 6 is found', async () => {
  const client = await connected(createClient({ url: (await redis()).url }))
  // As node-redis 5.9 looks.
  const older = { withCommandOptions: client.withCommandOptions.bind(client), _commandOptions: undefined }
  assert.match((await wrongOf(older))['Redis client']!, /npm install redis@6/)
})

test('a server that does not answer is no finding', async () => {
  await assert.rejects(redisFindings(createClient({ url: 'redis://127.0.0.1:1' })))
})
