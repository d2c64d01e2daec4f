// Sessions in MongoDB: two collections of one database. It has no feed.
import { MongoClient, type Db, type TopologyDescription } from 'mongodb'
import { mongodbIndexes, mongodbStore } from 'holdfast/stores/mongodb'
import { StartError } from '../start-error.ts'
import type { ConnectionChanged, Engine, Finding } from './engine.ts'
import type { StoreUrl } from './store-url.ts'

type MongodbUrl = Extract<StoreUrl, { kind: 'mongodb' }>

const connectTimeoutMs = 2_000

export async function mongodbEngine(url: MongodbUrl, changed: ConnectionChanged): Promise<Engine> {
  const client = open(url)
  const database = client.db()
  const [sessions, clients] = [database.collection('sessions'), database.collection('clients')]
  const stores = { sessions: mongodbStore(sessions), clients: mongodbStore(clients) }
  try {
    // First, since of several calls that find nobody the driver tells only one why.
    await client.connect()
    await Promise.all([sessions, clients].map((collection) => collection.createIndexes(mongodbIndexes())))
    // Refused by a server that is no member of a replica set.
    await stores.sessions.get('A'.repeat(22))
  } catch (error) {
    await client.close()
    throw new StartError(`HOLDFAST_STORE: ${explain(url, error)}`, error)
  }
  let up = true
  client.on('topologyDescriptionChanged', ({ newDescription }) => {
    const isUp = takesWrites(newDescription)
    if (up === isUp) return
    up = isUp
    changed(isUp ? null : new Error('there is no primary', { cause: newDescription.error }))
  })
  return {
    ...stores,
    feed: null,
    inspect: () => inspect(database),
    close: () => client.close(),
  }
}

function open({ url, shown }: MongodbUrl): MongoClient {
  try {
    return new MongoClient(url, {
      serverSelectionTimeoutMS: connectTimeoutMs,
      connectTimeoutMS: connectTimeoutMs,
      // By then whoever asked has long left.
      socketTimeoutMS: 10_000,
      appName: 'holdfast',
    })
  } catch (error) {
    // The driver's message may repeat the URL.
    throw new StartError(
      `HOLDFAST_STORE: ${shown} is no URL that MongoDB's driver takes: check its hosts and parameters`,
      error,
    )
  }
}

function takesWrites({ servers }: TopologyDescription): boolean {
  return [...servers.values()].some(({ isWritable }) => isWritable)
}

async function inspect(database: Db): Promise<readonly Finding[]> {
  const [{ version }, hello] = await Promise.all([database.command({ buildInfo: 1 }), database.command({ hello: 1 })])
  const isNew = Number.parseInt(String(version), 10) >= 5
  const members = (hello['hosts'] as unknown[] | undefined)?.length ?? 0
  // Behind mongos the members of the shards can't be seen.
  const isSpare = members >= 3 || hello['msg'] === 'isdbgrid'
  return [
    {
      what: 'MongoDB version',
      ok: isNew,
      found: String(version),
      advice: isNew ? null : 'Holdfast is written for MongoDB 5 and newer: upgrade it',
    },
    {
      what: 'MongoDB replica set',
      ok: isSpare,
      found: hello['msg'] === 'isdbgrid' ? 'sharded' : `${members} members with data`,
      advice: isSpare ? null : 'when one is away there is no majority, and nobody can sign in: have three',
    },
  ]
}

function explain({ shown }: MongodbUrl, error: unknown): string {
  const { code, name, message } = error as Error & { code?: unknown }
  if (code === 18 || code === 8000)
    return `MongoDB at ${shown} does not accept the user name or password of the URL: correct them`
  if (code === 13)
    return `the MongoDB user at ${shown} may not do what is needed: give it the role readWrite on that database`
  if (code === 123 || code === 20)
    return `MongoDB at ${shown} is no replica set, so it can't say that it is the primary: start it with --replSet and run rs.initiate(), which one member is enough for`
  if (name === 'MongoServerSelectionError')
    return `MongoDB at ${shown} can't be reached, or has no primary (${/\bE[A-Z_]{4,}\b/.exec(message)?.[0] ?? 'no answer'}): see that it runs, that hosts and parameters are right, and that it is MongoDB`
  return `MongoDB at ${shown} can't be used (${typeof code === 'number' || typeof code === 'string' ? code : name}): see that it runs, and that hosts and parameters are right`
}
