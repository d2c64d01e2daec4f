// DynamoDB as the store uses it: the commands, and what their failures mean.
import { ConfigError } from '../errors.ts'
import type { StoreOptions } from '../store.ts'

/** The methods of the SDK's class `DynamoDB` that are used, and of their inputs and outputs what is used. */
export interface Commands {
  getItem(input: KeyInput & { ConsistentRead: true }, o: CallOptions): Promise<{ Item?: Found | undefined }>
  putItem(input: Condition & { TableName: string; Item: Item }, o: CallOptions): Promise<object>
  deleteItem(input: KeyInput & Partial<Condition>, o: CallOptions): Promise<{ Attributes?: Found | undefined }>
  query(
    input: ReadInput & { KeyConditionExpression: string; ProjectionExpression: string },
    o: CallOptions,
  ): Promise<Page>
  scan(input: ReadInput & { Limit: number }, o: CallOptions): Promise<Page>
}

type Value = { S: string } | { N: string } | { B: Uint8Array }
export type Item = Record<string, Value>
/** What comes back: each attribute in the one type that it has. */
export type Found = Record<string, { S?: string | undefined; N?: string | undefined; B?: Uint8Array | undefined }>

interface KeyInput {
  TableName: string
  Key: Item
  ReturnValues?: 'ALL_OLD'
}

export interface Condition {
  ConditionExpression: string
  ExpressionAttributeValues: Item
}

interface ReadInput {
  TableName: string
  ConsistentRead: true
  FilterExpression: string
  ExpressionAttributeValues: Item
  ExclusiveStartKey: Item | undefined
}

interface Page {
  Items?: Found[] | undefined
  LastEvaluatedKey?: Found | undefined
}

interface CallOptions {
  abortSignal?: AbortSignal
}

export function callOptions({ signal }: StoreOptions = {}): CallOptions {
  return signal === undefined ? {} : { abortSignal: signal }
}

/** What the command answered, or `null` when its condition did not hold. */
export async function outcome<T>(command: Promise<T>): Promise<T | null> {
  try {
    return await command
  } catch (error) {
    const { name, message, $metadata } = error as Error & { $metadata?: { attempts?: number } }
    switch (name) {
      case 'ConditionalCheckFailedException':
        // Sent again by the SDK, it may have met its own first arrival.
        if ($metadata?.attempts !== 1) throw error
        return null
      case 'ResourceNotFoundException':
        throw new ConfigError(
          'there is no such table in DynamoDB: make it as dynamodbTable() says, or correct its name',
          {
            cause: error,
          },
        )
      case 'ValidationException':
        throw new ConfigError(`DynamoDB does not take it: ${message}`, { cause: error })
      default:
        throw error
    }
  }
}
