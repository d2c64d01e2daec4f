// Calls by @grpc/grpc-js on a user's behalf: a credential in the metadata of each.
import type { InterceptingCall, Interceptor, InterceptorOptions, StatusObject } from '@grpc/grpc-js'
import { statusOf } from '../internal/grpc.ts'

/**
 * `new Client(address, credentials, { interceptors: [credentialInterceptor(async () => token)] })`, or for one call, where the token is the
 * user's of a request: `client.list(request, { interceptors: [credentialInterceptor(() => token)] })`. `null` sends none.
 *
 * The token goes into `authorization` as a bearer token, or as it is into another `header`. When it can't be had the call ends with the
 * status of that error, and is not sent.
 */
export function credentialInterceptor(
  credential: (options: InterceptorOptions) => string | null | Promise<string | null>,
  { header = 'authorization' }: { header?: string } = {},
): Interceptor {
  return (options, nextCall) => {
    const call = nextCall(options)
    // What the caller does with the call waits for the credential, in its order.
    let begun: Promise<unknown> = Promise.resolve()
    let failed = false
    const then = (step: () => void) => void (begun = begun.then(() => failed || step()))

    const waiting: ReturnType<typeof nextCall> = {
      start(metadata, listener) {
        begun = Promise.resolve(options)
          .then(credential)
          .then(
            (token) => {
              if (token !== null) metadata.set(header, header === 'authorization' ? `Bearer ${token}` : token)
              call.start(metadata, listener)
            },
            (error: unknown) => {
              failed = true
              const ending = { ...statusOf(error), metadata } as unknown
              listener?.onReceiveStatus?.(ending as StatusObject)
            },
          )
      },
      sendMessageWithContext: (context, message) => then(() => call.sendMessageWithContext(context, message)),
      sendMessage: (message) => then(() => call.sendMessage(message)),
      startRead: () => then(() => call.startRead()),
      halfClose: () => then(() => call.halfClose()),
      cancelWithStatus: (status, details) => then(() => call.cancelWithStatus(status, details)),
      getPeer: () => call.getPeer(),
      getAuthContext: () => call.getAuthContext(),
    }
    // The type names the class; what is used is its interface.
    return waiting as InterceptingCall
  }
}
