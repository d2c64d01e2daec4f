// Sessions in DynamoDB: two tables, made when they are missing. It has no feed.
import { DynamoDB, waitUntilTableExists } from '@aws-sdk/client-dynamodb'
import { dynamodbStore, dynamodbTable } from 'holdfast/stores/dynamodb'
import { StartError } from '../start-error.ts'
import type { Engine, Finding } from './engine.ts'
import type { StoreUrl } from './store-url.ts'

type DynamodbUrl = Extract<StoreUrl, { kind: 'dynamodb' }>

const tableWithinSeconds = 60

/**
 * `dynamodb://<region>/<table>`, with credentials from where the SDK looks for them; `dynamodb+http://<host>:<port>/<table>` for one without
 * any, such as DynamoDB local; `dynamodb+https://` for an endpoint of one's own, in the region that the environment says.
 */
export async function dynamodbEngine(url: DynamodbUrl): Promise<Engine> {
  const { client, tables } = connect(url)
  try {
    for (const name of tables) await ensureTable(client, name)
  } catch (error) {
    client.destroy()
    throw new StartError(`HOLDFAST_STORE: ${explain(url, error)}`, error)
  }
  const [sessions, clients] = tables
  return {
    sessions: dynamodbStore(client, { table: sessions }),
    clients: dynamodbStore(client, { table: clients }),
    feed: null,
    inspect: async () => (await Promise.all(tables.map((name) => inspectTable(client, name)))).flat(),
    close: async () => client.destroy(),
  }
}

function connect({ url, shown }: DynamodbUrl): { client: DynamoDB; tables: readonly [string, string] } {
  // The region or endpoint, the table, and nothing else: credentials are none of the URL's business.
  const parts = /^dynamodb(?:\+(https?))?:\/\/([\w.:[\]-]+)\/([\w.-]{3,200})$/.exec(url)
  if (parts === null) {
    throw new StartError(
      `HOLDFAST_STORE: ${shown} must be dynamodb://<region>/<table>, with a table of 3 to 200 letters, digits, '_', '-' and '.', and without credentials, which come from the environment`,
    )
  }
  const [, protocol, place, table] = parts
  const client = new DynamoDB({
    requestHandler: { connectionTimeout: 1_000, requestTimeout: 2_000 },
    ...(protocol === undefined ? { region: place! } : { endpoint: `${protocol}://${place}` }),
    ...(protocol === 'http' && { region: 'local', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } }),
  })
  return { client, tables: [table!, `${table}-clients`] }
}

async function ensureTable(client: DynamoDB, name: string): Promise<void> {
  const { create, timeToLive } = dynamodbTable(name)
  try {
    await client.describeTable({ TableName: name })
    return
  } catch (error) {
    if ((error as Error).name !== 'ResourceNotFoundException') throw error
  }
  try {
    await client.createTable(create)
  } catch (error) {
    // Another replica is making it.
    if ((error as Error).name !== 'ResourceInUseException') throw error
  }
  await waitUntilTableExists({ client, maxWaitTime: tableWithinSeconds, minDelay: 1, maxDelay: 2 }, { TableName: name })
  // Sessions expire without it too; `holdfast doctor` says when it is off.
  await client.updateTimeToLive(timeToLive).catch(() => {})
}

async function inspectTable(client: DynamoDB, name: string): Promise<readonly Finding[]> {
  const [{ Table }, { TimeToLiveDescription }] = await Promise.all([
    client.describeTable({ TableName: name }),
    client.describeTimeToLive({ TableName: name }),
  ])
  const status = Table?.TableStatus ?? 'unknown'
  const isActive = status === 'ACTIVE' || status === 'UPDATING'
  const removes = TimeToLiveDescription?.TimeToLiveStatus ?? 'unknown'
  const isRemoved = removes.startsWith('ENABL') && TimeToLiveDescription?.AttributeName !== undefined
  return [
    {
      what: `DynamoDB table ${name}`,
      ok: isActive,
      found: `${status}, ${Table?.BillingModeSummary?.BillingMode ?? 'PROVISIONED'}`,
      advice: isActive ? null : 'it takes no calls: see what is done with it in the AWS console',
    },
    {
      what: `time to live of ${name}`,
      ok: isRemoved,
      found: `${removes}${isRemoved ? `, by ${TimeToLiveDescription.AttributeName}` : ''}`,
      advice: isRemoved
        ? null
        : `what has expired is kept and paid for: aws dynamodb update-time-to-live --table-name ${name} --time-to-live-specification Enabled=true,AttributeName=ttl`,
    },
  ]
}

function explain({ shown }: DynamodbUrl, error: unknown): string {
  const { name, message, code } = error as Error & { code?: string }
  if (name === 'CredentialsProviderError')
    return 'there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role'
  if (message === 'Region is missing') return 'the region is missing: set AWS_REGION'
  if (/UnrecognizedClient|InvalidSignature|ExpiredToken|InvalidClientTokenId/.test(name))
    return `AWS does not accept the credentials of the environment for ${shown} (${name}): correct them`
  if (name === 'AccessDeniedException')
    return `the credentials may not use ${shown}: allow dynamodb:DescribeTable, DescribeTimeToLive, GetItem, PutItem, DeleteItem, Query and Scan on both tables, <table> and <table>-clients, and CreateTable and UpdateTimeToLive if the service is to make them`
  return `DynamoDB at ${shown} can't be used (${code ?? name}): see that the region or endpoint is right and can be reached`
}
