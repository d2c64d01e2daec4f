// The contract of adapters for sockets can fail: adapters that each break one promise go red, and at the rule that names the promise.
import type { Exchange, Requirement, SessionError } from 'holdfast'
import { socketAdapterContract, type SocketAdapterUnderTest, type SocketHandler } from 'holdfast/testing'
import { testContract, type Broken } from '../broken.ts'

type Sessions = Parameters<SocketAdapterUnderTest['serve']>[0]
type AnySession = Parameters<SocketHandler>[0]

/** A working adapter without a network, but for what is changed. */
interface Change {
  open?: (sessions: Sessions, exchange: Exchange, query: URLSearchParams) => Promise<AnySession>
  requires?: (asked: Requirement | null) => Requirement | null
  refuse?: (status: number) => number
  /** What the server does when the session is over. Default: it closes with the right code. */
  over?: (why: 'ended' | 'changed', close: (code: number) => void) => void
  watch?: (sessions: Sessions, session: AnySession, onOver: (why: 'ended' | 'changed') => void) => () => void
  session?: (session: AnySession) => AnySession
  keepsHearing?: boolean
}

const codes = { ended: 4401, changed: 4409 }

function but(change: Change): SocketAdapterUnderTest {
  const sites = new Map<
    string,
    { sessions: Sessions; handle: SocketHandler; requires: Requirement | null; closeAll: Set<() => void> }
  >()
  return {
    async serve(sessions, handle, requires) {
      const { origin } = new URL(`https://site-${sites.size}.example`)
      sites.set(origin, {
        sessions,
        handle,
        requires: (change.requires ?? ((same) => same))(requires),
        closeAll: new Set(),
      })
      return { url: origin, close: () => void sites.delete(origin) }
    },
    async connect(url, headers) {
      const { origin, host, searchParams } = new URL(url)
      const { sessions, handle, requires } = sites.get(origin)!
      const exchange: Exchange = {
        method: 'CONNECT',
        address: null,
        headersSent: true,
        header: (name) => headers[name] ?? (name === 'host' ? host : null),
        setCookie() {},
        dependsOn() {},
      }
      let session: AnySession
      try {
        session = await (change.open ?? ((all, from) => all.open(from)))(sessions, exchange, searchParams)
        if (requires !== null) session.require(requires)
        session = change.session?.(session) ?? session
      } catch (error) {
        const { statusCode } = error as SessionError
        return change.refuse?.(statusCode) ?? statusCode
      }
      const over = Promise.withResolvers<number>()
      let hears = true
      const stop = (change.watch ?? ((all, one, onOver) => all.watch(one, onOver)))(sessions, session, (why) => {
        hears = change.keepsHearing ?? false
        // What is said travels for some turns, in which the client talks on.
        const close = async (code: number) => {
          for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
          over.resolve(code)
        }
        if (change.over === undefined) void close(codes[why])
        else change.over(why, (code) => void close(code))
      })
      return {
        ask: (message) => (hears ? Promise.resolve(handle(session, message)) : new Promise<never>(() => {})),
        over: over.promise,
        close: stop,
      }
    },
  }
}

function altered(exchange: Exchange, own: Partial<Exchange>): Exchange {
  return { ...exchange, ...own }
}

const broken: Broken<SocketAdapterUnderTest> = {
  'an adapter that looks at no credential': {
    make: () => but({ open: (sessions, exchange) => sessions.open(altered(exchange, { header: () => null })) }),
    noticedBy: /has the user of the credential/,
  },
  'an adapter that lets nobody in without a credential': {
    make: () =>
      but({
        requires: (asked) => asked ?? { within: '1h' },
      }),
    noticedBy: /without a credential is nobody’s/,
  },
  'an adapter that takes an upgrade for a look': {
    make: () => but({ open: (sessions, exchange) => sessions.open(altered(exchange, { method: 'GET' })) }),
    noticedBy: /another site may not connect/,
  },
  'an adapter that takes a token from the URL': {
    make: () =>
      but({
        open(sessions, exchange, query) {
          const token = query.get('token')
          return token === null ? sessions.open(exchange) : sessions.open(token)
        },
      }),
    noticedBy: /a token in the URL/,
  },
  'an adapter that watches nothing': {
    make: () => but({ watch: () => () => {} }),
    noticedBy: /when the session ends/,
  },
  'an adapter that hears of endings in its own process alone': {
    make: () =>
      but({
        watch(sessions, session, onOver) {
          const end = sessions.end.bind(sessions)
          sessions.end = async (id, o) => {
            if (id === session.id) onOver('ended')
            return end(id, o)
          }
          return () => {}
        },
      }),
    noticedBy: /when the session ends, in whatever process/,
  },
  'an adapter that has one code for everything': {
    make: () => but({ over: (_, close) => close(codes.ended) }),
    noticedBy: /when the roles change/,
  },
  'an adapter that stays open when the roles change': {
    make: () => but({ over: (why, close) => why === 'ended' && close(codes.ended) }),
    noticedBy: /when the roles change/,
  },
  'an adapter that listens on until the client is gone': {
    make: () => but({ keepsHearing: true }),
    noticedBy: /what arrives after/,
  },
  'an adapter that watches for ever': {
    make: () =>
      but({
        watch(sessions, session, onOver) {
          sessions.watch(session, onOver)
          return () => {}
        },
      }),
    noticedBy: /closed by the client is watched no longer/,
  },
  'an adapter that takes an outage for nobody': {
    make: () =>
      but({
        open: (sessions, exchange) =>
          sessions
            .open(exchange)
            .catch((error: SessionError) =>
              error.statusCode === 503
                ? sessions.open(altered(exchange, { header: () => null, method: 'GET' }))
                : Promise.reject(error),
            ),
      }),
    noticedBy: /while the store can’t answer/,
  },
  'an adapter that says nothing of an outage': {
    make: () => but({ refuse: (status) => (status === 503 ? 401 : status) }),
    noticedBy: /while the store can’t answer/,
  },
  'an adapter that asks the store for everyone': {
    make: () =>
      but({
        async open(sessions, exchange) {
          await sessions.get('A'.repeat(22))
          return sessions.open(exchange)
        },
      }),
    noticedBy: /while the store can’t answer/,
  },
  'an adapter that requires nothing': {
    make: () => but({ requires: () => null }),
    noticedBy: /without the permission/,
  },
  'an adapter that answers 403 to everyone': {
    make: () => but({ refuse: (status) => (status === 401 ? 403 : status) }),
    noticedBy: /without the permission/,
  },
  'an adapter that keeps the session where other connections find it': {
    make: () => {
      let latest: AnySession
      return but({
        session(session) {
          latest = session
          return new Proxy(session, {
            get(target, name) {
              const from = name === 'userId' ? latest : target
              const member: unknown = Reflect.get(from, name, from)
              return typeof member === 'function' ? member.bind(from) : member
            },
          })
        },
      })
    },
    noticedBy: /many at once/,
  },
  'an adapter that closes all when one is over': {
    make: () => {
      const all = new Set<(why: 'ended' | 'changed') => void>()
      return but({
        watch(sessions, session, onOver) {
          all.add(onOver)
          const stop = sessions.watch(session, (why) => {
            for (const one of all) one(why)
          })
          return () => {
            all.delete(onOver)
            stop()
          }
        },
      })
    },
    noticedBy: /many at once/,
  },
}

testContract(socketAdapterContract, broken, () => but({}))
