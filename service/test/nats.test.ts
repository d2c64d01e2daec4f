// The service on NATS: its streams, replicas, outages, and what it says when something is wrong.
import assert from 'node:assert/strict'
import { after, before, it } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { startNats, startNatsCluster, type NatsServer } from '../../scripts/servers/nats.ts'
import { openEngine, openFeed } from '../src/engines/engine.ts'
import { parseFeedUrl } from '../src/engines/feed-url.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { StartError } from '../src/start-error.ts'
import { assertOutagePasses, assertShared } from './engine-promises.ts'

let server: NatsServer
before(async () => {
  server = await startNats({ flags: ['--user', 'shop', '--pass', 'secret-of-shop'] })
})
after(() => server.stop())

const urlOf = ({ port }: { port: number }) => `nats://shop:secret-of-shop@127.0.0.1:${port}`

it('two replicas share sessions, clients and endings', () => assertShared(urlOf(server)))

it('an outage is answered in time, and is over without a restart', async () => {
  const own = await startNats()
  await assertOutagePasses(own, async () => {
    await own.restart()
    return own
  })
})

it('in a cluster its streams have three replicas, and an operator hears of one that has not', async () => {
  const { urls, stop } = await startNatsCluster()
  const url = parseStoreUrl(`nats://${urls.map((one) => new URL(one).host).join(',')}`)
  const engine = await openEngine(url)
  assert.deepEqual(
    (await engine.inspect()).filter(({ ok }) => !ok),
    [],
  )
  const connection = await connect({ servers: [...urls] })
  const manager = await jetstreamManager(connection)
  assert.equal((await manager.streams.info('holdfast')).config.num_replicas, 3)
  await manager.streams.update('holdfast-feed', { num_replicas: 1 })
  assert.match((await engine.inspect()).find(({ ok }) => !ok)?.advice ?? '', /nats stream edit holdfast-feed/)
  await Promise.all([engine.close(), connection.close()])
  await stop()
})

it('what can not work is said at the start, and what to do', async () => {
  const without = await startNats({ flags: ['--js=false'] })
  const wrong: readonly (readonly [url: string, expected: RegExp])[] = [
    ['nats://127.0.0.1:1', /can't be reached, or does not answer \(ECONNREFUSED\): see that it runs/],
    [urlOf(server).replace('secret-of', 'guess-of'), /does not accept the user name, password or token/],
    [without.url, /runs without JetStream: start nats-server with -js/],
  ]
  for (const [url, expected] of wrong) {
    const openings = [() => openEngine(parseStoreUrl(url)), () => openFeed(parseFeedUrl(url), { feed: null } as never)]
    for (const opening of openings) {
      await assert.rejects(opening, (error) => {
        assert.ok(error instanceof StartError)
        assert.match(error.message, expected)
        assert.doesNotMatch(error.message, /secret-of|guess-of/)
        return true
      })
    }
  }
  await without.stop()
})

it('a stream that would drop what is live is refused', async () => {
  const own = await startNats()
  const connection = await connect({ servers: own.url })
  await (await jetstreamManager(connection)).streams.add({ name: 'holdfast', subjects: ['holdfast.>'], max_age: 60e9 })
  await assert.rejects(
    openEngine(parseStoreUrl(own.url)),
    /max_age of the stream 'holdfast' is 60000000000 and has to be 0/,
  )
  await connection.close()
  await own.stop()
})
