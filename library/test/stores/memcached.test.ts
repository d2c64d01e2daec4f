// The contract on Memcached, and what the store makes of an engine that is full, away, or started anew.
import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import { createConnection } from 'node:net'
import { ConfigError, type Store } from 'holdfast'
import { memcachedStore, type MemcachedStoreClient } from 'holdfast/stores/memcached'
import { fakeClock, testStore, type StoreUnderTest } from 'holdfast/testing'
import { MemcacheClient } from 'memcache-client'
import { startMemcached, type MemcachedOptions } from '../../../scripts/servers/memcached.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { runProcess } from './processes/processes.ts'
import { record } from './record.ts'

describe('memcached', () => {
  const open: MemcacheClient[] = []
  let server: Server
  let tests = 0

  before(async () => {
    server = await startMemcached()
    for (let i = 0; i < 2; i++) open.push(connect(server))
  })
  after(async () => {
    for (const client of open) client.shutdown()
    await server.stop()
  })

  const make = (o: { clock?: ReturnType<typeof fakeClock> }): StoreUnderTest => {
    const prefix = `test${process.pid}-${tests++}:`
    return {
      store: memcachedStore(open[0]!, { prefix, ...o }),
      another: () => memcachedStore(open[1]!, { prefix, ...o }),
      ...o,
    }
  }
  testStore('memcached', () => make({ clock: fakeClock(Date.now()) }), { test })
  testStore('memcached, in real time', () => make({}), { test })
})

// They are disturbed, so they must be ours.
const skip = process.env['MEMCACHED_URL'] !== undefined && "MEMCACHED_URL is somebody else's"

describe('a memcached of its own', { skip }, () => {
  /** A server that the test may disturb, and a store on it. */
  async function fresh(t: TestContext, o: MemcachedOptions = {}) {
    const server = await startMemcached(o)
    const client = connect(server)
    t.after(async () => {
      client.shutdown()
      await server.stop()
    })
    return { server, client, store: memcachedStore(client) }
  }
  test('calls fail while it is paused, and work again when it goes on', async (t) => {
    const { server } = await fresh(t)
    const hasty = connect(server, 500)
    t.after(() => hasty.shutdown())
    const store = memcachedStore(hasty)
    const kept = record({ id: 'kept' })
    await untilAnswers(store)
    await store.put(kept, null)
    server.pause()
    const calls = [
      store.get('kept'),
      store.put(record({ id: 'other' }), null),
      store.delete(['kept']),
      store.listByUser('anna'),
    ]
    const settled = await Promise.allSettled(calls)
    assert.deepEqual(
      settled.map(({ status }) => status),
      calls.map(() => 'rejected'),
    )
    server.resume()
    await untilAnswers(store)
    const next = { ...kept, version: 2 }
    assert.equal(await store.put(next, 1), true)
    assert.deepEqual(await store.get('kept'), next)
    assert.deepEqual(
      (await store.listByUser('anna')).filter(({ id }) => id === 'kept'),
      [next],
    )
  })

  test('after a restart everything works, and no session is there', async (t) => {
    const { server, store } = await fresh(t)
    await store.put(record({ id: 'lost' }), null)
    await server.kill()
    await assert.rejects(store.get('lost'))
    await assert.rejects(store.put(record({ id: 'lost', version: 2 }), 1))
    await assert.rejects(store.put(record({ id: 'new' }), null))
    const again = await startMemcached({ port: server.port })
    t.after(() => again.stop())
    await untilAnswers(store)
    assert.equal(await store.get('lost'), null)
    assert.equal(await store.put(record({ id: 'lost', version: 2 }), 1), false)
    assert.deepEqual(await store.listByUser('anna'), [])
    assert.equal(await store.put(record({ id: 'new' }), null), true)
    assert.deepEqual(
      (await store.listByUser('anna')).map(({ id }) => id),
      ['new'],
    )
  })

  test('what is too large is refused, and what was stored stays', async (t) => {
    const { store } = await fresh(t)
    const small = record({ id: 'a' })
    await store.put(small, null)
    const large = { ...small, version: 2, data: 'x'.repeat(1_100_000) }
    await assert.rejects(
      store.put(large, 1),
      (error) => error instanceof ConfigError && /larger -I/.test(error.message),
    )
    await assert.rejects(store.put({ ...large, id: 'b', version: 1 }, null), ConfigError)
    assert.deepEqual(await store.get('a'), small)
    assert.equal(await store.get('b'), null)
    assert.equal(await store.put({ ...small, version: 2 }, 1), true)
  })

  test('when it is full it takes no more, and loses nothing', async (t) => {
    const { store } = await fresh(t, { flags: ['-m', '2'] })
    const started: string[] = []
    const fill = async () => {
      for (let i = 0; i < 10_000; i++) {
        const id = `s${i}`
        assert.equal(await store.put(record({ id, userId: `user${i}`, data: 'x'.repeat(4_000) }), null), true)
        started.push(id)
      }
    }
    await assert.rejects(fill, /out of memory/)
    assert.ok(started.length > 100)
    for (const id of started) assert.ok(await store.get(id), id)
    for (const id of started) assert.equal((await store.listByUser(`user${id.slice(1)}`)).length, 1)
    assert.deepEqual(await store.delete(started), started)
  })

  test('an item outlives its record by a minute, also one of more than thirty days, and none beyond 32 bits', async (t) => {
    const { server, store } = await fresh(t)
    const lives = { hour: 3_600, year: 365 * 86_400, century: 36_500 * 86_400 }
    const now = Math.floor(Date.now() / 1000)
    for (const [id, seconds] of Object.entries(lives)) {
      await store.put(record({ id, userId: null, expiresAt: (now + seconds) * 1000 }), null)
    }
    const ends = await endsIn(server)
    assert.equal(ends.length, 3)
    const around = (end: number, expected: number) =>
      assert.ok(Math.abs(end - expected) <= 5, `${end}, not ${expected}`)
    around(ends[0]!, now + lives.hour + 60)
    around(ends[1]!, now + lives.year + 60)
    around(ends[2]!, 2 ** 31 - 1)
  })

  test('a touch is two commands, and a start writes the list first', async (t) => {
    const { client } = await fresh(t)
    const asked: string[] = []
    const heard = new Proxy(client, {
      get(target, command: keyof MemcachedStoreClient) {
        const call = target[command] as unknown
        if (typeof call !== 'function') return call
        return (key: string, ...rest: unknown[]) => {
          asked.push(`${command} ${key.slice(0, 5)}`)
          return call.call(target, key, ...rest) as unknown
        }
      },
    })
    const store = memcachedStore(heard)
    const now = Date.now()
    await store.put(record({ id: 'a', expiresAt: now + 1_800_000 }), null)
    assert.deepEqual(asked.splice(0), ['gets hf:u:', 'add hf:u:', 'add hf:s:'])
    let commands = 0
    for (let i = 1; i <= 20; i++) {
      const seenAt = now + i * 180_000
      assert.equal(await store.put(record({ id: 'a', version: i + 1, seenAt, expiresAt: seenAt + 1_800_000 }), i), true)
      commands += asked.splice(0).length
    }
    // Over two idle windows the list is changed at most three times.
    assert.ok(commands <= 20 * 2 + 3 * 2, `${commands} commands`)
  })

  test('a machine whose clock is hours ahead hides no session of the others', async (t) => {
    const { client, store } = await fresh(t)
    const early = memcachedStore(client, { clock: { now: () => Date.now() + 3 * 3_600_000 } })
    await store.put(record({ id: 'right', userId: 'anna' }), null)
    const at = Date.now() + 3 * 3_600_000
    await early.put(record({ id: 'early', userId: 'anna', createdAt: at, seenAt: at, expiresAt: at + 60_000 }), null)
    assert.ok((await store.listByUser('anna')).some(({ id }) => id === 'right'))
    await early.delete(['early'])
    assert.deepEqual(
      (await store.listByUser('anna')).map(({ id }) => id),
      ['right'],
    )
  })

  test('the list of a user lasts as long as the longest of its sessions, and is gone with the last', async (t) => {
    const { server, store } = await fresh(t)
    const now = Math.floor(Date.now() / 1000)
    await store.put(record({ id: 'long', expiresAt: (now + 86_400) * 1000 }), null)
    await store.put(record({ id: 'short', expiresAt: (now + 60) * 1000 }), null)
    const ends = await endsIn(server, 'hf:u:')
    assert.equal(ends.length, 1)
    assert.ok(ends[0]! >= now + 86_400 + 60, `${ends[0]! - now} s`)
    await store.delete(['long', 'short'])
    assert.deepEqual(await endsIn(server, 'hf:'), [])
  })
})

test('sessions of one user that five clients start and end at once are all on the list, or gone from it', async (t) => {
  const server = await startMemcached()
  const clients = Array.from({ length: 5 }, () => connect(server))
  t.after(async () => {
    for (const client of clients) client.shutdown()
    await server.stop()
  })
  const prefix = `contended${process.pid}:`
  const stores = clients.map((client) => memcachedStore(client, { prefix }))
  await Promise.all(
    stores.map(async (store, i) => {
      for (let n = 0; n < 30; n++) {
        await store.put(record({ id: `${i}-${n}` }), null)
        if (n % 3 === 0) await store.delete([`${i}-${n}`])
      }
    }),
  )
  assert.equal((await stores[0]!.listByUser('anna')).length, 5 * 20)
})

test('fifty increments by three processes are fifty', async (t) => {
  const server = await startMemcached()
  const client = connect(server)
  t.after(async () => {
    client.shutdown()
    await server.stop()
  })
  const id = `counter-${process.pid}`
  const store = memcachedStore(client)
  await store.put(record({ id, data: '0' }), null)
  await Promise.all([17, 17, 16].map((times) => runProcess('increment.ts', [server.url, id, String(times)])))
  assert.equal((await store.get(id))?.data, '50')
  await store.delete([id])
})

test('a client of several servers is refused, and a prefix that is none', () => {
  const servers = [{ server: '127.0.0.1:1' }, { server: '127.0.0.1:2' }]
  assert.throws(() => memcachedStore(new MemcacheClient({ server: { servers } })), /several servers/)
  const client = new MemcacheClient({ server: '127.0.0.1:1' })
  for (const prefix of ['a b', 'ä', '\r\n', 'x'.repeat(101)]) {
    assert.throws(() => memcachedStore(client, { prefix }), ConfigError, prefix)
  }
})

/** Patient, unless an outage is what is waited for: a busy machine takes its time. */
function connect({ port }: Server, timeoutMs = 5_000): MemcacheClient {
  return new MemcacheClient({
    server: { server: `127.0.0.1:${port}`, maxConnections: 4 },
    noDelay: true,
    connectTimeout: timeoutMs,
    cmdTimeout: timeoutMs,
  })
}

/** Until the client has a connection again; there is no event for it. */
async function untilAnswers(store: Store): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      return void (await store.get('anything'))
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  assert.fail('the connection stays dead')
}

/** Until when the items are kept, in seconds since the epoch, the nearest first. */
async function endsIn({ port }: Server, prefix = 'hf:s:'): Promise<readonly number[]> {
  const socket = createConnection(port, '127.0.0.1').setEncoding('utf8')
  socket.write('lru_crawler metadump all\r\n')
  let dump = ''
  for await (const chunk of socket) {
    dump += chunk as string
    if (dump.endsWith('END\r\n')) break
  }
  const items = [...dump.matchAll(/^key=(\S+) exp=(-?\d+)/gm)]
  return items
    .filter(([, key]) => decodeURIComponent(key!).startsWith(prefix))
    .map(([, , exp]) => Number(exp))
    .sort((a, b) => a - b)
}
