// The contract on DynamoDB, as dynalite speaks it, and what the store makes of lost answers, full items and missing tables.
import { after, before, describe, test } from 'node:test'
import { DynamoDB } from '@aws-sdk/client-dynamodb'
import { dynamodbStore, dynamodbTable } from 'holdfast/stores/dynamodb'
import { fakeClock, testStore, type StoreUnderTest } from 'holdfast/testing'
import { startDynamodb } from '../../../scripts/servers/dynamodb.ts'
import type { Server } from '../../../scripts/servers/server.ts'

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

function connect(endpoint: string): DynamoDB {
  return new DynamoDB({
    endpoint,
    region: 'local',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    requestHandler: { connectionTimeout: 5000, requestTimeout: 5000 },
  })
}

async function makeTable(client: DynamoDB, table: string): Promise<void> {
  const { create } = dynamodbTable(table)
  await client.createTable(create)
  while ((await client.describeTable({ TableName: table })).Table?.TableStatus !== 'ACTIVE');
}
