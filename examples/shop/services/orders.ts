// Orders, over gRPC: called by the other services alone, on a user's behalf. It uses no section of the session.
import { EventEmitter } from 'node:events'
import {
  Server,
  ServerCredentials,
  status,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js'
import { createSessions, headerTransport, type SessionOf } from 'holdfast'
import { sessionInterceptor, statusOf } from 'holdfast/adapters/grpc'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import { Orders, type Basket, type Order, type OrderList, type Step } from './orders-client.ts'
import { chain, port, redis, shared } from './system.ts'

const sessions = createSessions({
  ...shared,
  credentials: assertionCredentials({ ...chain, service: 'orders' }),
  transport: headerTransport('Txn-Token'),
  data: {},
})
const { interceptor, sessionOf } = sessionInterceptor(sessions, {
  requires: {
    '/shop.Orders/Place': 'orders:write',
    '/shop.Orders/Mark': 'orders:ship',
    '/shop.Orders/Watch': 'orders:read',
  },
})

/** A hash by id. Who changes it says so in the channel of the same name, so that all replicas hear of it. */
const key = 'shop:orders'
const changes = new EventEmitter().setMaxListeners(0)
const subscriber = redis.duplicate()
// While it was away it may have missed something.
subscriber.on('error', () => {}).on('ready', () => changes.emit('changed'))
await subscriber.connect()
await subscriber.subscribe(key, () => changes.emit('changed'))

async function place({ id, items }: Basket, { userId }: SessionOf<typeof sessions>): Promise<Order> {
  const order: Order = { id, items, user: userId!, status: 'placed', placedAt: Date.now() }
  if ((await redis.hSetNX(key, id, JSON.stringify(order))) === 0) {
    const before = await orderOf(id)
    if (before.user !== userId) throw new Refused(status.NOT_FOUND, 'no such order')
    return before
  }
  await redis.publish(key, id)
  return order
}

async function mark({ id, status: step }: Step): Promise<Order> {
  if (step !== 'packed' && step !== 'shipped') throw new Refused(status.INVALID_ARGUMENT, 'no such status')
  const order: Order = { ...(await orderOf(id)), status: step }
  await redis.hSet(key, id, JSON.stringify(order))
  await redis.publish(key, id)
  return order
}

function watch(call: ServerWritableStream<object, OrderList>): void {
  const session = sessionOf(call)
  const isFor = (order: Order) => session.can('orders:ship') || order.user === session.userId
  const send = () => {
    redis.hVals(key).then(
      (all) => {
        const orders = all.map((text) => JSON.parse(text) as Order).filter(isFor)
        call.write({ orders: orders.sort((a, b) => b.placedAt - a.placedAt) })
      },
      // Sent when Redis is back.
      (error: Error) => console.error(error.message),
    )
  }
  changes.on('changed', send)
  call.on('cancelled', () => changes.off('changed', send))
  send()
}

class Refused extends Error {
  readonly code: status
  constructor(code: status, details: string) {
    super(details)
    this.code = code
  }
}

async function orderOf(id: string): Promise<Order> {
  const text = await redis.hGet(key, id)
  if (text === null) throw new Refused(status.NOT_FOUND, 'no such order')
  return JSON.parse(text) as Order
}

function unary<In>(handle: (request: In, session: SessionOf<typeof sessions>) => Promise<Order>) {
  return (call: ServerUnaryCall<In, Order>, callback: sendUnaryData<Order>) => {
    handle(call.request, sessionOf(call)).then(
      (order) => callback(null, order),
      (error: unknown) =>
        callback(error instanceof Refused ? { code: error.code, details: error.message } : statusOf(error)),
    )
  }
}

const server = new Server({ interceptors: [interceptor] })
server.addService(Orders.service, { Place: unary(place), Mark: unary(mark), Watch: watch })
server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error
})
