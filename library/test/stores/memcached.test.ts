// The contract on Memcached, and what the store makes of an engine that is full, away, or started anew.
import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import { ConfigError, type SessionRecord } from 'holdfast'
import { memcachedStore } from 'holdfast/stores/memcached'
import { fakeClock, testStore, type StoreUnderTest } from 'holdfast/testing'
import { MemcacheClient } from 'memcache-client'
import { startMemcached, type MemcachedOptions } from '../../../scripts/servers/memcached.ts'
import type { Server } from '../../../scripts/servers/server.ts'

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

function connect({ port }: Server): MemcacheClient {
  return new MemcacheClient({
    server: { server: `127.0.0.1:${port}`, maxConnections: 4 },
    noDelay: true,
    connectTimeout: 500,
    cmdTimeout: 500,
  })
}
