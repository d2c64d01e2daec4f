// Sessions in a DynamoDB table, through the AWS SDK 3.
import { sha256 } from '#crypto'
import { skewMs } from '../internal/clock-skew.ts'
import { coverOf } from '../internal/cover.ts'
import {
  callOptions,
  type Commands,
  type Condition,
  type Found,
  type Item,
  outcome,
} from '../internal/dynamodb-commands.ts'
import { listed } from '../internal/listed.ts'
import { pack, unpack } from '../internal/packed.ts'
import type { ScannableStore, SessionRecord, StoreOptions } from '../store.ts'

/** What `new DynamoDB(…)` of @aws-sdk/client-dynamodb gives: the class with a method for each command. */
export type DynamodbStoreClient = Commands

/** The table, which all processes that share the sessions name alike. */
export interface DynamodbStoreOptions {
  /** Name of a table of the store's own, made as `dynamodbTable` says. */
  table: string
  /** What says which records have expired, in milliseconds since the epoch. Default `Date`. */
  clock?: { now(): number } | undefined
}

/**
 * Keeps sessions in a DynamoDB table of its own. The client is yours; the store never closes it. Give it timeouts, since the SDK by itself waits
 * for ever: `new DynamoDB({ requestHandler: { connectionTimeout: 1000, requestTimeout: 2000 } })`. Its retries (`maxAttempts`) are harmless:
 * a write that was sent twice and then refused may have met itself, so the call rejects, and its outcome is unknown. A `delete` that was sent twice
 * has ended the session, but may answer that there was none.
 *
 * `get` is one strongly consistent GetItem, a `put` one conditional PutItem, an ending one DeleteItem and the removal of its entry in the list of the
 * user's sessions. A start, and about once per idle window a touch, is preceded by a write to that list, which is part of the
 * table: a global secondary index is only eventually consistent, and would miss live sessions. There are no transactions.
 *
 * What has expired is filtered by the clock, and removed by DynamoDB within days when its time to live is switched on. The machines'
 * clocks may differ by a minute. Of a global table all processes must use one region: the others learn of an ending later.
 *
 * A call rejects when DynamoDB does, also for throttling, and with a `ConfigError` when there is no such table or it does not take the
 * record, such as one of more than 400 KB. What was stored stays.
 */
export function dynamodbStore(client: DynamodbStoreClient, o: DynamodbStoreOptions): ScannableStore {
  const clock = o.clock ?? Date
  const TableName = o.table

  async function get(id: string, options?: StoreOptions): Promise<SessionRecord | null> {
    const answer = await outcome(
      client.getItem({ TableName, Key: recordKey(id), ConsistentRead: true }, callOptions(options)),
    )
    return answer?.Item === undefined ? null : recordIn(answer.Item, clock.now())
  }

  /** Whether the condition held, and so it was written. */
  async function write(Item: Item, condition: Condition, options?: StoreOptions): Promise<boolean> {
    const command = client.putItem({ TableName, Item, ...condition }, callOptions(options))
    return (await outcome(command)) !== null
  }

  /** What was removed, or `null`. */
  async function remove(Key: Item, condition: Condition | null, options?: StoreOptions): Promise<Found | null> {
    const input = { TableName, Key, ReturnValues: 'ALL_OLD' as const, ...condition }
    return (await outcome(client.deleteItem(input, callOptions(options))))?.Attributes ?? null
  }

  async function putLive(
    record: SessionRecord,
    expected: number | null,
    now: number,
    options?: StoreOptions,
  ): Promise<boolean> {
    const { id, userId, expiresAt, version } = record
    const condition =
      expected === null ? where('attribute_not_exists(pk) OR e <= :now', { ':now': n(now) }) : isStill(expected, now)
    const item = {
      ...recordKey(id),
      r: { B: pack(record, 0).bytes },
      v: n(version),
      e: n(expiresAt),
      ttl: ttl(expiresAt),
    }
    if (userId === null) return write(item, condition, options)

    const until = coverOf(record)
    const [u, c] = [{ S: await sha256(userId) }, n(until)]
    const owned = { ...item, u, c }
    if (expected !== null) {
      const isCovered = where(`${condition.ConditionExpression} AND u = :u AND c >= :c`, {
        ...condition.ExpressionAttributeValues,
        ':u': u,
        ':c': c,
      })
      if (await write(owned, isCovered, options)) return true
    }
    // An entry that is there for longer stays: a start that fails must not shorten it.
    const isShorter = where('attribute_not_exists(pk) OR c < :c', { ':c': c })
    await write({ ...entryKey(u, id), c, ttl: ttl(until) }, isShorter, options)
    return write(owned, condition, options)
  }

  /** Best effort: an entry without a record is harmless and goes with its time. Ids are not reused, so this can't hit a new session. */
  async function uncover(id: string, user: string | undefined, options?: StoreOptions): Promise<void> {
    if (user !== undefined) await remove(entryKey({ S: user }, id), null, options).catch(() => {})
  }

  /** Whether there was a live one. */
  async function end(id: string, condition: Condition | null, options?: StoreOptions): Promise<boolean> {
    const ended = await remove(recordKey(id), condition, options)
    if (ended === null) return false
    await uncover(id, ended['u']?.S, options)
    return Number(ended['e']?.N) > clock.now()
  }

  async function entriesOf(user: string, options?: StoreOptions): Promise<readonly string[]> {
    const ids: string[] = []
    let from: Item | undefined
    do {
      const page = await outcome(
        client.query(
          {
            TableName,
            ConsistentRead: true,
            KeyConditionExpression: 'pk = :pk',
            FilterExpression: 'c > :since',
            ExpressionAttributeValues: { ':pk': { S: `u#${user}` }, ':since': n(clock.now() - skewMs) },
            ProjectionExpression: 'sk',
            ExclusiveStartKey: from,
          },
          callOptions(options),
        ),
      )
      for (const { sk } of page?.Items ?? []) ids.push(sk!.S!)
      from = page?.LastEvaluatedKey as Item | undefined
    } while (from !== undefined)
    return ids
  }

  return {
    get,

    async put(record, expected, options) {
      const now = clock.now()
      if (record.expiresAt > now) return putLive(record, expected, now, options)
      if (expected === null) return (await get(record.id, options)) === null
      return end(record.id, isStill(expected, now), options)
    },

    async delete(ids, options) {
      const ended = await Promise.all(ids.map((id) => end(id, null, options)))
      return ids.filter((_, i) => ended[i])
    },

    async listByUser(userId, options) {
      const user = await sha256(userId)
      return listed(
        userId,
        () => entriesOf(user, options),
        (id) => get(id, options),
      )
    },

    async scan({ cursor, limit }) {
      const now = clock.now()
      const page = await outcome(
        client.scan(
          {
            TableName,
            ConsistentRead: true,
            // Only records have `e`.
            FilterExpression: 'e > :now',
            ExpressionAttributeValues: { ':now': n(now) },
            ExclusiveStartKey: cursor === undefined ? undefined : keyAt(cursor),
            Limit: limit,
          },
          {},
        ),
      )
      const records = (page?.Items ?? []).map((item) => recordIn(item, now)).filter((record) => record !== null)
      const last = page?.LastEvaluatedKey
      return { records, cursor: last === undefined ? null : JSON.stringify([last['pk']?.S, last['sk']?.S]) }
    },
  }
}

/**
 * What `createTable` and, once it is active, `updateTimeToLive` are to be given: `client.createTable(dynamodbTable('sessions').create)`. It is paid
 * by request; change `BillingMode` as you like. Without time to live, which is for expired items, the table only grows.
 */
export function dynamodbTable(name: string) {
  return {
    create: {
      TableName: name,
      BillingMode: 'PAY_PER_REQUEST' as const,
      AttributeDefinitions: [
        { AttributeName: 'pk', AttributeType: 'S' as const },
        { AttributeName: 'sk', AttributeType: 'S' as const },
      ],
      KeySchema: [
        { AttributeName: 'pk', KeyType: 'HASH' as const },
        { AttributeName: 'sk', KeyType: 'RANGE' as const },
      ],
    },
    timeToLive: { TableName: name, TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true } },
  }
}

// Records have the attributes r (packed), v (version), e (expiresAt), and with a user u (its hash) and c, until when the list shows them.
// Entries of that list have c. Each item has ttl, in seconds. The names are short since their bytes are paid for with every item.

function recordKey(id: string): Item {
  return { pk: { S: `s#${id}` }, sk: { S: '-' } }
}

function entryKey(user: { S: string }, id: string): Item {
  return { pk: { S: `u#${user.S}` }, sk: { S: id } }
}

function keyAt(cursor: string): Item {
  const [pk, sk] = JSON.parse(cursor) as [string, string]
  return { pk: { S: pk }, sk: { S: sk } }
}

function recordIn({ pk, r }: Found, now: number): SessionRecord | null {
  return unpack(pk!.S!.slice('s#'.length), r!.B!, now)
}

function isStill(version: number, now: number): Condition {
  return where('v = :v AND e > :now', { ':v': n(version), ':now': n(now) })
}

function where(ConditionExpression: string, ExpressionAttributeValues: Item): Condition {
  return { ConditionExpression, ExpressionAttributeValues }
}

function n(value: number): { N: string } {
  return { N: String(value) }
}

function ttl(until: number): { N: string } {
  return n(Math.ceil((until + skewMs) / 1000))
}
