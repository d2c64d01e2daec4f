// What a service says at its start of the engine it runs on.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createClient } from 'redis'
import { startRedis } from '../../scripts/servers/redis.ts'
import { adminSecret, serve, serviceOn, until } from './service.ts'

test('a Redis that may drop sessions is warned of by itself, and one that may not is not', async (t) => {
  const evicts = { maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' }
  const [bad, good] = [await startRedis({ settings: evicts }), await startRedis()]
  if (bad.url === good.url) return t.skip('one server was lent, and this takes two')
  t.after(async () => {
    await bad.stop()
    await good.stop()
  })
  const warned = await serve({ HOLDFAST_STORE: bad.url, HOLDFAST_ADMIN_SECRET: adminSecret })
  const warnings = () =>
    warned
      .output()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ level }) => level === 'warn')
  await until(() => warnings().length > 0, 'a warning')
  assert.equal(await warned.end(), 0)
  assert.deepEqual(
    warnings().map(({ msg, advice }) => [msg, advice]),
    [
      [
        'Redis eviction: allkeys-lru, maxmemory 104857600',
        'it drops sessions when the memory is full: CONFIG SET maxmemory-policy noeviction',
      ],
    ],
  )
  const quiet = await serve({ HOLDFAST_STORE: good.url, HOLDFAST_ADMIN_SECRET: adminSecret })
  await quiet.start()
  assert.equal(await quiet.end(), 0)
  assert.doesNotMatch(quiet.output(), /"level":"warn"/)
})

test('a service whose Redis does not let it ask starts, and says that it can not tell', async (t) => {
  const redis = await startRedis()
  const root = createClient({ url: redis.url })
  await root.connect()
  const user = `blind${process.pid}`
  await root.sendCommand(['ACL', 'SETUSER', user, 'on', '>of-a-test', '~*', '&*', '+@all', '-info'])
  const service = await serviceOn(redis.url.replace('//', `//${user}:of-a-test@`))
  t.after(async () => {
    await service.stop()
    await root.sendCommand(['ACL', 'DELUSER', user])
    root.destroy()
    await redis.stop()
  })
  const { token } = await service.start()
  assert.equal((await service.call('POST', '/v1/sessions/verify', { body: { token } })).body.active, true)
  const said = () => service.lines.filter(({ level }) => level === 'warn').map(({ msg }) => msg)
  await until(() => said().length > 0, 'a warning')
  assert.deepEqual(said(), ['the store does not say whether it may drop sessions'])
})
