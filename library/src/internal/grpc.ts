// Calls of gRPC: their metadata as an exchange, errors of sessions as their statuses.
import { AccessError, ConflictError, DataError, SessionError, StoreUnavailableError } from '../errors.ts'
import type { Exchange } from '../transport/transport.ts'

/** Of the codes in google/rpc/code.proto. */
const codes = {
  invalidArgument: 3,
  permissionDenied: 7,
  resourceExhausted: 8,
  aborted: 10,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const

interface GrpcStatus {
  readonly code: (typeof codes)[keyof typeof codes]
  readonly details: string
}

/** Only a `SessionError` is explained to the caller; of anything else it learns nothing. */
export function statusOf(error: unknown): GrpcStatus {
  if (!(error instanceof SessionError)) return { code: codes.internal, details: 'internal error' }
  if (error instanceof StoreUnavailableError) {
    return {
      code: codes.unavailable,
      details: `the session store is not available; try again in ${error.retryAfterMs} ms`,
    }
  }
  if (error.statusCode >= 500) return { code: codes.internal, details: 'internal error' }
  return { code: codes[codeName(error)], details: error.message }
}

function codeName(error: SessionError): keyof typeof codes {
  if (error instanceof AccessError && error.code === 'assurance-too-low') return 'unauthenticated'
  if (error instanceof DataError) return 'invalidArgument'
  if (error instanceof ConflictError) return 'aborted'
  if (error.code === 'limit') return 'resourceExhausted'
  return error.statusCode === 401 ? 'unauthenticated' : 'permissionDenied'
}

/** Why a call is over before its handler is. */
export const callOver: Record<'ended' | 'changed', GrpcStatus> = {
  ended: { code: codes.unauthenticated, details: 'the session ended' },
  changed: { code: codes.unauthenticated, details: 'the session changed; call again' },
}

/** What grpc-js tells the listener of a call. */
interface Listener<Metadata> {
  onReceiveMetadata(metadata: Metadata): void
  onReceiveMessage(message: unknown): void
  onReceiveHalfClose(): void
  onCancel(): void
}

/** The members of grpc-js's call. */
interface Call<Metadata> {
  start(listener: Listener<Metadata>): void
  sendMetadata(metadata: Metadata): void
  sendMessage(message: unknown, callback: () => void): void
  sendStatus(status: GrpcStatus): void
  startRead(): void
  getPeer(): string
  getDeadline(): unknown
  getHost(): string
  getAuthContext(): unknown
  getConnectionInfo(): { remoteAddress?: string | undefined }
  getMetricsRecorder(): unknown
}

/** Ends a call before its handler does, which then hears of nothing but that. */
type End = (status: GrpcStatus) => void

/** The same call, but that some of what its listener is told goes by `heard` first. */
export function hearing<Metadata>(
  call: Call<Metadata>,
  heard: (listener: Listener<Metadata>, end: End) => Partial<Listener<Metadata>>,
): Call<Metadata> {
  let isOver = false
  const end: End = (status) => {
    isOver = true
    call.sendStatus(status)
  }
  return {
    start: (listener) =>
      call.start({
        onReceiveMetadata: (metadata) => listener.onReceiveMetadata(metadata),
        onReceiveMessage: (message) => void (isOver || listener.onReceiveMessage(message)),
        onReceiveHalfClose: () => void (isOver || listener.onReceiveHalfClose()),
        onCancel: () => listener.onCancel(),
        ...heard(listener, end),
      }),
    sendMetadata: (metadata) => call.sendMetadata(metadata),
    sendMessage: (message, callback) => call.sendMessage(message, callback),
    sendStatus: (status) => call.sendStatus(status),
    startRead: () => call.startRead(),
    getPeer: () => call.getPeer(),
    getDeadline: () => call.getDeadline(),
    getHost: () => call.getHost(),
    getAuthContext: () => call.getAuthContext(),
    getConnectionInfo: () => call.getConnectionInfo(),
    getMetricsRecorder: () => call.getMetricsRecorder(),
  }
}

/** Metadata stand for headers. Nothing is handed out over gRPC. */
export function callExchange(
  metadata: { get(key: string): (string | Uint8Array)[] },
  call: Pick<Call<unknown>, 'getHost' | 'getConnectionInfo'>,
): Exchange {
  return {
    method: 'POST',
    headersSent: true,
    address: call.getConnectionInfo().remoteAddress ?? null,
    header(name) {
      if (name === 'host') return call.getHost()
      const values = metadata.get(name).map(String)
      if (values.length > 1 && name !== 'cookie') return null
      return values.length === 0 ? null : values.join('; ')
    },
    setCookie() {},
    dependsOn() {},
  }
}
