// The contract can fail: adapters that each break one promise go red, and at the rule that names the promise.
import type { Exchange, Session } from 'holdfast'
import { withSession } from 'holdfast/adapters/fetch'
import { adapterContract, type ServeAdapter } from 'holdfast/testing'
import { testContract, type Broken } from '../broken.ts'
import { listen, overFetch, toResponse } from './servers.ts'

type Sessions = Parameters<ServeAdapter>[0]
type AnySession = Session<Record<string, unknown>>

/** A working adapter but for what is changed of how a session is opened, of the request, or of the response. */
function but(change: {
  open?: (sessions: Sessions, exchange: Exchange) => Promise<AnySession>
  request?: (request: Request) => Request
  respond?: (headers: Headers, status: number) => number | void
}): ServeAdapter {
  return (sessions, handle) => {
    const { open } = change
    const opening: Sessions =
      open === undefined ? sessions : { ...sessions, open: (from) => open(sessions, from as Exchange) }
    const right = withSession(opening, async (request, session) => {
      const { pathname, search } = new URL(request.url)
      const body = await request.text()
      return toResponse(await handle(session, { method: request.method, path: pathname + search, body }))
    })
    return listen(
      overFetch(async (request) => {
        const response = await right(change.request?.(request) ?? request)
        const headers = new Headers(response.headers)
        const status = change.respond?.(headers, response.status) ?? response.status
        return new Response(response.body, { status, headers })
      }),
    )
  }
}

/** An exchange with some members of its own. */
function altered(exchange: Exchange, own: Partial<Exchange>): Exchange {
  return {
    method: exchange.method,
    address: exchange.address,
    headersSent: false,
    header: (name) => exchange.header(name),
    setCookie: (line) => exchange.setCookie(line),
    dependsOn: (header) => exchange.dependsOn(header),
    ...own,
  }
}

function withoutHeader(request: Request, name: string): Request {
  const headers = new Headers(request.headers)
  headers.delete(name)
  return new Request(request, { headers })
}

const broken: Broken<ServeAdapter> = {
  'an adapter that drops Set-Cookie': {
    make: () => but({ respond: (headers) => headers.delete('set-cookie') }),
    noticedBy: /a sign-in hands out the cookie/,
  },
  'an adapter that folds Set-Cookie lines into one': {
    make: () =>
      but({
        respond(headers) {
          const folded = headers.getSetCookie().join(', ')
          headers.delete('set-cookie')
          if (folded !== '') headers.set('set-cookie', folded)
        },
      }),
    noticedBy: /own cookies and headers stand beside ours/,
  },
  'an adapter that adds a Set-Cookie line for each sign-in': {
    make: () => {
      const lines: string[] = []
      return but({
        open: (sessions, exchange) => sessions.open(altered(exchange, { setCookie: (line) => lines.push(line) })),
        respond(headers) {
          for (const line of lines.splice(0)) headers.append('set-cookie', line)
        },
      })
    },
    noticedBy: /however often a request signs in/,
  },
  'an adapter that keeps the first cookie of a request': {
    make: () =>
      but({
        open(sessions, exchange) {
          let first: string | null = null
          return sessions.open(altered(exchange, { setCookie: (line) => exchange.setCookie((first ??= line)) }))
        },
      }),
    noticedBy: /however often a request signs in/,
  },
  'an adapter that forgets what caches must know': {
    make: () => but({ open: (sessions, exchange) => sessions.open(altered(exchange, { dependsOn: () => {} })) }),
    noticedBy: /no cache keeps/,
  },
  'an adapter that lets every answer depend on the cookie': {
    make: () =>
      but({
        open(sessions, exchange) {
          exchange.dependsOn('cookie')
          return sessions.open(exchange)
        },
      }),
    noticedBy: /anonymous request is served/,
  },
  'an adapter that sets a cookie for everyone': {
    make: () => but({ respond: (headers) => headers.append('set-cookie', 'seen=1') }),
    noticedBy: /anonymous request is served/,
  },
  "an adapter that loses the application's own cookies": {
    make: () =>
      but({
        respond(headers) {
          const ours = headers.getSetCookie().filter((line) => line.startsWith('__Host-session='))
          headers.delete('set-cookie')
          for (const line of ours) headers.append('set-cookie', line)
        },
      }),
    noticedBy: /own cookies and headers stand beside ours/,
  },
  "an adapter that replaces the application's Vary": {
    make: () =>
      but({
        respond(headers) {
          if (headers.has('vary')) headers.set('vary', 'cookie')
        },
      }),
    noticedBy: /own cookies and headers stand beside ours/,
  },
  'an adapter that keeps a session for the next request': {
    make: () => {
      const kept = new Map<string, Promise<AnySession>>()
      return but({
        async open(sessions, exchange) {
          const cookie = exchange.header('cookie')
          if (cookie === null) return sessions.open(exchange)
          const session = kept.get(cookie) ?? sessions.open(exchange)
          kept.set(cookie, session)
          return session
        },
      })
    },
    noticedBy: /every request looks again/,
  },
  'an adapter that keeps the session where other requests find it': {
    make: () => {
      let current: Promise<AnySession>
      return but({
        async open(sessions, exchange) {
          current = sessions.open(exchange)
          await current
          // Until others that were sent at the same time have come.
          for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
          return current
        },
      })
    },
    noticedBy: /never see each other/,
  },
  'an adapter that lets other sites change something': {
    make: () => but({ open: (sessions, exchange) => sessions.open(altered(exchange, { method: 'GET' })) }),
    noticedBy: /refused from another site/,
  },
  'an adapter that checks for other sites only where there is a session': {
    make: () =>
      but({
        open(sessions, exchange) {
          const anonymous = exchange.header('cookie') === null
          return sessions.open(anonymous ? altered(exchange, { method: 'GET' }) : exchange)
        },
      }),
    noticedBy: /refused from another site/,
  },
  'an adapter that hides Origin': {
    make: () => but({ request: (request) => withoutHeader(request, 'origin') }),
    noticedBy: /known by its origin/,
  },
  'an adapter that refuses tokens from other sites': {
    make: () =>
      but({
        request: (request) =>
          request.headers.get('sec-fetch-site') === 'cross-site' ? withoutHeader(request, 'authorization') : request,
      }),
    noticedBy: /a bearer token opens/,
  },
  'an adapter that takes an outage for nobody': {
    make: () =>
      but({
        open: (sessions, exchange) =>
          sessions.open(exchange).catch(() => sessions.open(altered(exchange, { method: 'GET', header: () => null }))),
      }),
    noticedBy: /while the store is down/,
  },
  'an adapter that drops the cookie in an outage': {
    make: () =>
      but({
        respond(headers, status) {
          if (status === 503) headers.append('set-cookie', '__Host-session=; Path=/; Max-Age=0')
        },
      }),
    noticedBy: /while the store is down/,
  },
  'an adapter that does not say when to try again': {
    make: () => but({ respond: (headers) => headers.delete('retry-after') }),
    noticedBy: /503/,
  },
  'an adapter that asks the store for everyone': {
    make: () =>
      but({
        async open(sessions, exchange) {
          await sessions.get('A'.repeat(22))
          return sessions.open(exchange)
        },
      }),
    noticedBy: /while the store is down/,
  },
  'an adapter that answers every error alike': {
    make: () =>
      but({
        respond: (_, status) => (status >= 400 && status !== 404 && status !== 503 && status !== 403 ? 500 : undefined),
      }),
    noticedBy: /an error of a session has its status/,
  },
  'an adapter that forgets the cookie when the application fails': {
    make: () =>
      but({
        respond(headers, status) {
          if (status >= 400) headers.delete('set-cookie')
        },
      }),
    noticedBy: /what is set before an error/,
  },
  'an adapter that takes the first of two cookies': {
    make: () =>
      but({
        open(sessions, exchange) {
          const first = exchange
            .header('cookie')
            ?.split('; ')
            .find((pair) => pair.startsWith('__Host-session='))
          return sessions.open(
            altered(exchange, { header: (name) => (name === 'cookie' ? (first ?? null) : exchange.header(name)) }),
          )
        },
      }),
    noticedBy: /two session cookies/,
  },
  'an adapter that takes the first of two Authorization fields': {
    make: () =>
      but({
        open: (sessions, exchange) =>
          sessions.open(altered(exchange, { header: (name) => exchange.header(name)?.split(', ')[0] ?? null })),
      }),
    noticedBy: /two Authorization fields/,
  },
  'an adapter that prefers the token to the cookie': {
    make: () =>
      but({
        open: (sessions, exchange) =>
          sessions.open(
            altered(exchange, {
              header: (name) =>
                name === 'cookie' && exchange.header('authorization') !== null ? null : exchange.header(name),
            }),
          ),
      }),
    noticedBy: /a cookie and a bearer token together/,
  },
  'an adapter that takes a token from the query': {
    make: () => {
      return but({
        request(request) {
          const token = new URL(request.url).search.split('=')[1]
          if (token === undefined) return request
          const headers = new Headers(request.headers)
          headers.set('authorization', `Bearer ${token}`)
          return new Request(request, { headers })
        },
      })
    },
    noticedBy: /in the path, the query or the body/,
  },
  'an adapter that begins a session for every visitor': {
    make: () =>
      but({
        async open(sessions, exchange) {
          const session = await sessions.open(exchange)
          if (session.id === null && session.refused === null) await session.update('seen', () => true)
          return session
        },
      }),
    noticedBy: /anonymous request is served/,
  },
  'an adapter that keeps the cookie after a sign-out': {
    make: () =>
      but({
        open: (sessions, exchange) =>
          sessions.open(
            altered(exchange, { setCookie: (line) => void (line.includes('Max-Age=0') || exchange.setCookie(line)) }),
          ),
      }),
    noticedBy: /a sign-out takes the cookie away/,
  },
  'an adapter that forgets the guest at sign-in': {
    make: () =>
      but({
        async open(sessions, exchange) {
          const session = await sessions.open(exchange)
          const signIn: AnySession['signIn'] = (userId, o) => session.signIn(userId, { carry: [], ...o })
          return new Proxy(session, {
            get: (target, name) => (name === 'signIn' ? signIn : bound(target, name)),
          })
        },
      }),
    noticedBy: /the cart of a guest is kept/,
  },
  'an adapter whose guests can not begin': {
    make: () => but({ open: (sessions, exchange) => sessions.open(altered(exchange, { headersSent: true })) }),
    noticedBy: /a guest's session begins/,
  },
}

function bound(session: AnySession, name: string | symbol): unknown {
  const member: unknown = Reflect.get(session, name, session)
  return typeof member === 'function' ? member.bind(session) : member
}

testContract(adapterContract, broken, () => but({}))
