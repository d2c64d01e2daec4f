// Sessions over gRPC, with grpc-js on both sides: unary calls and every kind of stream.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import {
  credentials,
  loadPackageDefinition,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  type GrpcObject,
  type Interceptor,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerInterceptingCall,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import fc from 'fast-check'
import { bearerTransport, createSessions, StoreUnavailableError, type Store, type Transport } from 'holdfast'
import { sessionInterceptor, statusOf } from 'holdfast/adapters/grpc'
import { credentialInterceptor } from 'holdfast/adapters/grpc-client'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'

interface Text {
  text: string
}
type Callback = (error: ServiceError | null, value?: Text) => void
interface Options {
  interceptors?: Interceptor[]
}
interface Client {
  who(text: Text, metadata: Metadata, options: Options, callback: Callback): ClientUnaryCall
  restricted(text: Text, metadata: Metadata, options: Options, callback: Callback): ClientUnaryCall
  count(metadata: Metadata, options: Options, callback: Callback): ClientWritableStream<Text>
  follow(text: Text, metadata: Metadata, options: Options): ClientReadableStream<Text>
  talk(metadata: Metadata, options: Options): ClientDuplexStream<Text, Text>
  close(): void
}

const { shop } = loadPackageDefinition(loadSync(join(import.meta.dirname, 'orders.proto'))) as unknown as {
  shop: GrpcObject & { Orders: ServiceClientConstructor }
}

const right = memoryStore()
let isDown = false
const store: Store = {
  ...right,
  async get(id) {
    if (isDown) throw new Error('connection lost')
    return right.get(id)
  },
}
const feed = memoryFeed()
const roles = { clerk: ['orders:read'] }
/** A header that a client can send twice; grpc-js sends only one `authorization`. */
const ownHeader: Transport = {
  ...bearerTransport(),
  reads: 'x-session',
  extract: (header) => header('x-session'),
}
const transport = [bearerTransport(), ownHeader]
const make = () => createSessions({ store, feed, roles, transport, data: {} })
const [sessions, elsewhere] = [make(), make()]
const { interceptor, sessionOf } = sessionInterceptor(sessions, {
  requires: { '/shop.Orders/Restricted': 'orders:read' },
})
const server = new Server({ interceptors: [interceptor] })
let client: Client

before(async () => {
  server.addService(shop.Orders.service, {
    Who: (call: ServerUnaryCall<Text, Text>, callback: sendUnaryData<Text>) => {
      const { userId, refused } = sessionOf(call)
      callback(null, { text: JSON.stringify([userId, refused]) })
    },
    Restricted: (call: ServerUnaryCall<Text, Text>, callback: sendUnaryData<Text>) => {
      try {
        if (call.request.text === 'fail') throw new Error('the password of the database is hunter2')
        sessionOf(call).require(call.request.text)
        callback(null, { text: 'done' })
      } catch (error) {
        callback(statusOf(error))
      }
    },
    Count: (call: ServerReadableStream<Text, Text>, callback: sendUnaryData<Text>) => {
      let count = 0
      call.on('data', () => count++)
      call.on('end', () => callback(null, { text: `${sessionOf(call).userId} ${count}` }))
    },
    Follow: (call: ServerWritableStream<Text, Text>) => {
      call.write({ text: String(sessionOf(call).userId) })
    },
    Talk: (call: ServerDuplexStream<Text, Text>) => {
      call.on('data', ({ text }: Text) => call.write({ text: `${sessionOf(call).userId} ${text}` }))
      call.on('end', () => call.end())
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  client = new shop.Orders(`127.0.0.1:${port}`, credentials.createInsecure()) as unknown as Client
})
beforeEach(() => void (isDown = false))
after(() => {
  client.close()
  server.forceShutdown()
  sessions.close()
  elsewhere.close()
})

function call(
  method: 'who' | 'restricted',
  token: string | null,
  text = '',
  metadata = new Metadata(),
): Promise<string> {
  return new Promise((resolve, reject) =>
    client[method]({ text }, metadata, { interceptors: [credentialInterceptor(() => token)] }, (error, value) =>
      error === null ? resolve(value!.text) : reject(error),
    ),
  )
}

const withToken = (token: string): Options => ({ interceptors: [credentialInterceptor(async () => token)] })
const withCode = (code: status) => (error: unknown) => (error as ServiceError).code === code

test('a call has the user of the token in its metadata; without one it is nobody’s, and with a dead one', async () => {
  const { token, session } = await sessions.start('ada')
  assert.equal(await call('who', token), '["ada",null]')
  assert.equal(await call('who', null), '[null,null]')
  await elsewhere.end(session.id!, { settled: true })
  assert.equal(await call('who', token), '[null,"ended"]')
})

test('two tokens in one header are none', async () => {
  const [ada, bob] = [await sessions.start('ada'), await sessions.start('bob')]
  const metadata = new Metadata()
  metadata.add('x-session', ada.token)
  assert.equal(await call('who', null, '', metadata), '["ada",null]')
  metadata.add('x-session', bob.token)
  assert.equal(await call('who', null, '', metadata), '[null,"malformed"]')
})

test('a method that requires something: UNAUTHENTICATED for nobody, PERMISSION_DENIED for somebody else', async () => {
  const [clerk, shopper] = [await sessions.start('ada', { roles: ['clerk'] }), await sessions.start('bob')]
  assert.equal(await call('restricted', clerk.token, 'orders:read'), 'done')
  await assert.rejects(call('restricted', null, 'orders:read'), withCode(status.UNAUTHENTICATED))
  await assert.rejects(call('restricted', shopper.token, 'orders:read'), withCode(status.PERMISSION_DENIED))
  await assert.rejects(call('restricted', clerk.token, 'orders:write'), withCode(status.PERMISSION_DENIED))
})

test('of an error that is none of ours the caller learns nothing', async () => {
  const { token } = await sessions.start('ada', { roles: ['clerk'] })
  await assert.rejects(call('restricted', token, 'fail'), (error: ServiceError) => {
    assert.deepEqual([error.code, error.details], [status.INTERNAL, 'internal error'])
    return true
  })
})

test('while the store can’t answer: UNAVAILABLE, and a call without a credential is served', async () => {
  const { token } = await sessions.start('ada')
  isDown = true
  await assert.rejects(call('who', token), withCode(status.UNAVAILABLE))
  assert.equal(await call('who', null), '[null,null]')
})

test('streams of every kind have the session', async () => {
  const { token } = await sessions.start('ada')
  const counted = Promise.withResolvers<string>()
  const counting = client.count(new Metadata(), withToken(token), (error, value) =>
    error === null ? counted.resolve(value!.text) : counted.reject(error),
  )
  for (let i = 0; i < 3; i++) counting.write({ text: '' })
  counting.end()
  assert.equal(await counted.promise, 'ada 3')

  const talking = client.talk(new Metadata(), withToken(token))
  talking.write({ text: 'hello' })
  assert.deepEqual(await once(talking, 'data'), [{ text: 'ada hello' }])
  talking.end()
  const [{ code }] = (await once(talking, 'status')) as [{ code: status }]
  assert.equal(code, status.OK)
})

test('a stream that is open when its session ends or changes is ended with UNAUTHENTICATED', async () => {
  for (const over of [
    (userId: string) => elsewhere.endUser(userId),
    (userId: string) => elsewhere.setRoles(userId, []),
  ]) {
    const { token } = await sessions.start('ada', { roles: ['clerk'] })
    const following = client.follow({ text: '' }, new Metadata(), withToken(token))
    assert.deepEqual(await once(following, 'data'), [{ text: 'ada' }])
    const failed = once(following, 'error') as Promise<[ServiceError]>
    await over('ada')
    assert.equal((await failed)[0].code, status.UNAUTHENTICATED)
  }
})

test('of a stream that the end of the session cut off a handler hears no more, and not that it is complete', async () => {
  const { token } = await sessions.start('ada')
  const metadata = new Metadata()
  metadata.set('authorization', `Bearer ${token}`)
  const heard: unknown[] = []
  const admitted = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<{ code: status }>()
  let fromClient!: Parameters<ServerInterceptingCall['start']>[0]
  const below = {
    start: (listener: typeof fromClient) => (fromClient = listener),
    sendStatus: ended.resolve,
    getHost: () => 'shop.example',
    getConnectionInfo: () => ({}),
  }
  interceptor({ path: '/shop.Orders/Count' } as never, below as never).start({
    onReceiveMetadata: () => admitted.resolve(),
    onReceiveMessage: (message: unknown) => heard.push(message),
    onReceiveHalfClose: () => heard.push('complete'),
    onCancel: () => heard.push('cancelled'),
  } as never)
  fromClient.onReceiveMetadata(metadata)
  await admitted.promise
  fromClient.onReceiveMessage('before')
  await elsewhere.endUser('ada')
  assert.equal((await ended.promise).code, status.UNAUTHENTICATED)
  fromClient.onReceiveMessage('after')
  fromClient.onReceiveHalfClose()
  fromClient.onCancel()
  assert.deepEqual(heard, ['before', 'cancelled'])
})

test('a call that is over is watched no longer', async () => {
  let watched = 0
  const counting = {
    ...sessions,
    watch: ((session, onOver) => {
      const stop = sessions.watch(session, onOver)
      watched++
      return () => {
        watched--
        stop()
      }
    }) as typeof sessions.watch,
  }
  const other = new Server({ interceptors: [sessionInterceptor(counting).interceptor] })
  other.addService(shop.Orders.service, {
    Who: (_call: unknown, callback: sendUnaryData<Text>) => callback(null, { text: '' }),
  })
  const port = await new Promise<number>((resolve) =>
    other.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_, bound) => resolve(bound)),
  )
  const to = new shop.Orders(`127.0.0.1:${port}`, credentials.createInsecure()) as unknown as Client
  const { token } = await sessions.start('ada')
  await new Promise<void>((resolve) => to.who({ text: '' }, new Metadata(), withToken(token), () => resolve()))
  to.close()
  await new Promise<void>((resolve) => other.tryShutdown(() => resolve()))
  assert.equal(watched, 0)
})

test('when the credential can’t be had the call is not sent, and says why', async () => {
  const failing = credentialInterceptor(() => Promise.reject(new StoreUnavailableError('down', 1000)))
  const error = await new Promise((resolve) =>
    client.who({ text: '' }, new Metadata(), { interceptors: [failing] }, resolve),
  )
  assert.equal((error as ServiceError).code, status.UNAVAILABLE)
})

test('calls at the same time never see each other’s user', async () => {
  const users = ['ada', 'bob', 'cyd', null]
  const tokens = await Promise.all(
    users.map(async (user) => (user === null ? null : (await sessions.start(user)).token)),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(users.length - 1), { minLength: 2, maxLength: 20 }), async (all) => {
      const answers = await Promise.all(all.map((i) => call('who', tokens[i]!)))
      assert.deepEqual(
        answers.map((answer) => (JSON.parse(answer) as unknown[])[0]),
        all.map((i) => users[i]),
      )
    }),
    { numRuns: 10 },
  )
})
