// Sessions for services by @grpc/grpc-js: who calls, from the metadata of the call.
import type { Metadata, ServerInterceptingCall, ServerInterceptor } from '@grpc/grpc-js'
import { callExchange, callOver, hearing, statusOf } from '../internal/grpc.ts'
import type { Requirement, Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

export { statusOf }

/**
 * `new Server({ interceptors: [interceptor] })` opens the session of each call from its metadata, read as headers (`authorization: Bearer …`);
 * handlers of every kind get it by `sessionOf(call)`. `requires` asks for something by the path of a method:
 * `{ '/shop.Orders/List': 'orders:read' }`.
 *
 * A call that may not be made gets UNAUTHENTICATED or PERMISSION_DENIED, and UNAVAILABLE while the store can't answer. One that is open when its
 * session ends or changes is ended with UNAUTHENTICATED within `maxStaleness`, as `Sessions.watch` says. In a handler: `callback(statusOf(error))`.
 */
export function sessionInterceptor<Data>(
  sessions: Sessions<Data>,
  { requires = {} }: { requires?: Readonly<Record<string, string | Requirement>> } = {},
): { interceptor: ServerInterceptor; sessionOf(call: { metadata: Metadata }): Session<Data> } {
  const opened = new WeakMap<Metadata, Session<Data>>()

  return {
    sessionOf({ metadata }) {
      const session = opened.get(metadata)
      if (session === undefined)
        throw new Error("no session: the server needs the interceptor, after those that replace a call's metadata")
      return session
    },

    interceptor({ path }, call) {
      let stop = () => {}
      let isOver = false

      async function admit(metadata: Metadata, end: (status: ReturnType<typeof statusOf>) => void): Promise<void> {
        const session = await sessions.open(callExchange(metadata, call))
        if (Object.hasOwn(requires, path)) session.require(requires[path]!)
        opened.set(metadata, session)
        if (!isOver) stop = sessions.watch(session, (why) => end(callOver[why]))
      }

      // The type names the class; what is used is its interface.
      return hearing(call, (listener, end) => ({
        onReceiveMetadata(metadata) {
          admit(metadata, end).then(
            () => listener.onReceiveMetadata(metadata),
            (error: unknown) => end(statusOf(error)),
          )
        },
        // Whatever its end was.
        onCancel() {
          isOver = true
          stop()
          listener.onCancel()
        },
      })) as ServerInterceptingCall
    },
  }
}
