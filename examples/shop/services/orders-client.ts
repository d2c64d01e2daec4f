// The orders service as others call it: each call with a token for it, made for the user whose request is being answered.
import {
  credentials,
  loadPackageDefinition,
  status,
  type CallOptions,
  type ClientReadableStream,
  type ServiceClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { join } from 'node:path'
import { credentialInterceptor } from 'holdfast/adapters/grpc-client'

export interface Basket {
  readonly id: string
  readonly items: readonly string[]
}
export interface Order extends Basket {
  readonly user: string
  readonly status: 'placed' | 'packed' | 'shipped'
  readonly placedAt: number
}
export interface OrderList {
  readonly orders: readonly Order[]
}
export interface Step {
  readonly id: string
  readonly status: string
}
type Token = () => Promise<string>
type Reply = (error: ServiceError | null, order?: Order) => void
interface Stub {
  place(basket: Basket, o: CallOptions, reply: Reply): void
  mark(step: Step, o: CallOptions, reply: Reply): void
  watch(nothing: object, o: CallOptions): ClientReadableStream<OrderList>
}

const proto = loadPackageDefinition(loadSync(join(import.meta.dirname, 'orders.proto')))
export const Orders = (proto as unknown as { shop: { Orders: ServiceClientConstructor } }).shop.Orders

const connection = {
  'grpc.service_config': JSON.stringify({
    loadBalancingConfig: [{ round_robin: {} }],
    methodConfig: [
      {
        // Every call may be made twice: the second time it changes nothing.
        name: [{ service: 'shop.Orders' }],
        retryPolicy: {
          maxAttempts: 3,
          initialBackoff: '0.1s',
          maxBackoff: '0.5s',
          backoffMultiplier: 2,
          retryableStatusCodes: ['UNAVAILABLE'],
        },
      },
    ],
  }),
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
}

/** `target`: the replicas, as `ipv4:127.0.0.1:5001,127.0.0.1:5002`. Errors of calls say by `statusCode` how to answer. */
export function ordersAt(target: string) {
  const stub = new Orders(target, credentials.createInsecure(), connection) as unknown as Stub
  const acting = (token: Token) => ({ interceptors: [credentialInterceptor(token, { header: 'txn-token' })] })
  const within = (ms: number) => ({ deadline: Date.now() + ms })

  function settled(call: (reply: Reply) => void): Promise<Order> {
    return new Promise((resolve, reject) => {
      call((error, order) => (error === null ? resolve(order!) : reject(new OrdersError(error))))
    })
  }

  return {
    place: (basket: Basket, token: Token) =>
      settled((reply) => stub.place(basket, { ...acting(token), ...within(3000) }, reply)),
    mark: (step: Step, token: Token) =>
      settled((reply) => stub.mark(step, { ...acting(token), ...within(3000) }, reply)),
    watch: (token: Token) => stub.watch({}, acting(token)),
  }
}

const statusCodes: Partial<Record<status, number>> = {
  [status.INVALID_ARGUMENT]: 400,
  [status.UNAUTHENTICATED]: 401,
  [status.PERMISSION_DENIED]: 403,
  [status.NOT_FOUND]: 404,
  [status.UNAVAILABLE]: 503,
  [status.DEADLINE_EXCEEDED]: 503,
}

/** As Express and Fastify read it. */
class OrdersError extends Error {
  readonly statusCode: number
  readonly headers: Record<string, string>
  constructor({ code, details }: ServiceError) {
    super(`orders: ${details}`)
    this.statusCode = statusCodes[code] ?? 502
    this.headers = this.statusCode === 503 ? { 'Retry-After': '1' } : {}
  }
}
