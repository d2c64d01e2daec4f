// The contract on DynamoDB, as dynalite speaks it, and what the store makes of lost answers, full items and missing tables.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test, type TestContext } from 'node:test'
import { DynamoDB } from '@aws-sdk/client-dynamodb'
import { ConfigError } from 'holdfast'
import { dynamodbStore, dynamodbTable, type DynamodbStoreClient } from 'holdfast/stores/dynamodb'
import { fakeClock, testStore, type StoreUnderTest } from 'holdfast/testing'
import { startDynamodb } from '../../../scripts/servers/dynamodb.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { record } from './record.ts'

describe('dynamodb', () => {
  const open: DynamoDB[] = []
  let server: Server
  let tests = 0

  before(async () => {
    server = await startDynamodb()
    for (let i = 0; i < 2; i++) open.push(connect(server.url))
  })
  after(async () => {
    for (const client of open) client.destroy()
    await server.stop()
  })

  const make = async (o: { clock?: ReturnType<typeof fakeClock> }): Promise<StoreUnderTest> => {
    const table = `test${process.pid}-${tests++}`
    await makeTable(open[0]!, table)
    return {
      store: dynamodbStore(open[0]!, { table, ...o }),
      another: () => dynamodbStore(open[1]!, { table, ...o }),
      ...o,
      close: async () => void (await open[0]!.deleteTable({ TableName: table })),
    }
  }
  testStore('dynamodb', () => make({ clock: fakeClock(Date.now()) }), { test })
  testStore('dynamodb, in real time', () => make({}), { test })
})

describe('a dynamodb of its own', () => {
  let server: Server
  let client: DynamoDB
  let tables = 0

  before(async () => {
    server = await startDynamodb()
    client = connect(server.url)
  })
  after(async () => {
    client.destroy()
    await server.stop()
  })
  const freshTable = async () => {
    const table = `own${process.pid}-${tables++}`
    await makeTable(client, table)
    return table
  }

  test('a write that the SDK sent twice, and that met its own first arrival, is no conflict', async (t) => {
    const table = await freshTable()
    const front = await losingAnswers(t, server, 'PutItem')
    const direct = dynamodbStore(client, { table })
    const disturbed = dynamodbStore(front.client, { table })
    const guest = record({ id: 'a', userId: null })
    front.loseNext()
    await assert.rejects(disturbed.put(guest, null), { name: 'ConditionalCheckFailedException' })
    assert.deepEqual(await direct.get('a'), guest)
    front.loseNext()
    await assert.rejects(disturbed.put({ ...guest, version: 2 }, 1))
    assert.equal((await direct.get('a'))?.version, 2)
    assert.equal(await disturbed.put({ ...guest, version: 3 }, 1), false)
  })

  test('a touch is one request, and a read a strongly consistent one', async () => {
    const asked: [string, object][] = []
    const store = dynamodbStore(
      watched(client, (method, input) => asked.push([method, input])),
      { table: await freshTable() },
    )
    const now = Date.now()
    await store.put(record({ id: 'a', expiresAt: now + 1_800_000 }), null)
    // The list first: a session that is not on it could not be ended with the others of its user.
    assert.deepEqual(
      asked.splice(0).map(([method, input]) => [method, (input as { Item: Attributes }).Item['pk']?.S?.slice(0, 2)]),
      [
        ['putItem', 'u#'],
        ['putItem', 's#'],
      ],
    )
    let writes = 0
    for (let i = 1; i <= 20; i++) {
      const seenAt = now + i * 180_000
      assert.equal(await store.put(record({ id: 'a', version: i + 1, seenAt, expiresAt: seenAt + 1_800_000 }), i), true)
      writes += asked.splice(0).length
    }
    // Two idle windows: a start in the list, and in it again at most once a window.
    assert.ok(writes <= 20 + 2 * 3, `${writes} requests`)
    await store.get('a')
    await store.listByUser('anna')
    await store.scan({ limit: 10 })
    assert.deepEqual(
      asked.map(([, input]) => 'ConsistentRead' in input && input.ConsistentRead),
      asked.map(() => true),
    )
  })

  test('a list of many pages is whole', async () => {
    const table = await freshTable()
    const paged = watched(client, (method, input) => {
      if (method === 'query') Object.assign(input, { Limit: 3 })
    })
    const store = dynamodbStore(paged, { table })
    const ids = Array.from({ length: 10 }, (_, i) => `id${i}`)
    for (const id of ids) await store.put(record({ id }), null)
    assert.deepEqual((await store.listByUser('anna')).map(({ id }) => id).sort(), ids)
  })

  test('what is too large is refused, and what was stored stays', async () => {
    const store = dynamodbStore(client, { table: await freshTable() })
    const small = record({ id: 'a' })
    await store.put(small, null)
    const isTooLarge = (error: unknown) => error instanceof ConfigError && /size/i.test(error.message)
    await assert.rejects(store.put({ ...small, version: 2, data: 'x'.repeat(410_000) }, 1), isTooLarge)
    assert.deepEqual(await store.get('a'), small)
    assert.equal(await store.put({ ...small, version: 2 }, 1), true)
  })

  test('an id that can be no key is refused as such, not as an outage', async () => {
    const store = dynamodbStore(client, { table: await freshTable() })
    await assert.rejects(store.get('x'.repeat(3000)), ConfigError)
  })

  test('a table that is not there is named as the cause', async () => {
    const store = dynamodbStore(client, { table: 'nowhere' })
    await assert.rejects(store.get('a'), /there is no such table in DynamoDB: make it as dynamodbTable\(\) says/)
  })

  test('an item says in whole seconds when it may be removed, a minute after its end', async () => {
    const table = await freshTable()
    const expiresAt = Date.now() + 3_600_000
    await dynamodbStore(client, { table }).put(record({ expiresAt }), null)
    const { Items = [] } = await client.scan({ TableName: table })
    const ends = Items.map(({ pk, ttl }) => [pk!.S!.slice(0, 2), Number(ttl!.N)] as const)
    const ttl = new Map(ends)
    assert.equal(ttl.get('s#'), Math.ceil(expiresAt / 1000) + 60)
    // The list keeps it for longer, so that a touch need not change it.
    assert.ok(ttl.get('u#')! >= ttl.get('s#')!)
  })

  test('calls that were given up leave nothing behind that the next would wait for', async (t) => {
    const own = await startDynamodb()
    const slow = connect(own.url)
    t.after(async () => {
      slow.destroy()
      await own.stop()
    })
    await makeTable(slow, 'sessions')
    const store = dynamodbStore(slow, { table: 'sessions' })
    own.pause()
    // More than the SDK has sockets for.
    const calls = Array.from({ length: 80 }, () => store.get('a', { signal: AbortSignal.timeout(200) }))
    const reasons = (await Promise.allSettled(calls)).map((call) => call.status === 'rejected' && call.reason.name)
    assert.deepEqual([...new Set(reasons)], ['AbortError'])
    own.resume()
    assert.equal(await store.put(record(), null), true)
  })
})

function connect(endpoint: string): DynamoDB {
  return new DynamoDB({
    endpoint,
    region: 'local',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    // The SDK counts from when it asked for a socket, also while this process is busy.
    requestHandler: { connectionTimeout: 30_000, requestTimeout: 30_000 },
  })
}

async function makeTable(client: DynamoDB, table: string): Promise<void> {
  const { create } = dynamodbTable(table)
  await client.createTable(create)
  while ((await client.describeTable({ TableName: table })).Table?.TableStatus !== 'ACTIVE');
}

type Attributes = Record<string, { S?: string }>

/** The same client, heard or changed before each call. */
function watched(client: DynamoDB, heard: (method: string, input: object) => void): DynamodbStoreClient {
  return new Proxy(client, {
    get(target, method: keyof DynamodbStoreClient) {
      const call = target[method] as (input: object, o: object) => Promise<object>
      return (input: object, o: object) => {
        heard(method, input)
        return call.call(target, input, o)
      }
    },
  }) as DynamodbStoreClient
}

/** A client whose server carries out what it is asked, but when told to, loses the answer to the next `operation`. */
async function losingAnswers(t: TestContext, { port }: Server, operation: string) {
  let lose = false
  const front = createServer((request, response) => {
    const target = String(request.headers['x-amz-target'])
    const { method, url, headers } = request
    const forwarded = httpRequest({ host: '127.0.0.1', port, method, path: url, headers }, (answer) => {
      if (lose && target.endsWith(operation)) {
        lose = false
        answer.resume().on('end', () => request.socket.destroy())
        return
      }
      response.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(response)
    })
    request.pipe(forwarded)
  }).listen(0, '127.0.0.1')
  await once(front, 'listening')
  const client = connect(`http://127.0.0.1:${(front.address() as AddressInfo).port}`)
  t.after(() => {
    client.destroy()
    front.close()
    front.closeAllConnections()
  })
  return { client, loseNext: () => void (lose = true) }
}
