// Sessions for handlers that take a Request and give a Response.
import { FetchExchange } from '../internal/exchange.web.ts'
import { problem } from '../internal/problem.ts'
import type { Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'

/**
 * A handler with the session beside the request; what the framework gives beside it, such as the context of a Next.js route
 * (`export const GET = withSession(sessions, (request, session, { params }) => …)`), comes after. Errors of sessions become `application/problem+json`; any other one is
 * thrown on, unless a cookie has to arrive; then `redirect()` and `notFound()` of Next.js are answered as it would. `address` tells the peer's address where the runtime knows it.
 */
export function withSession<Data, Rest extends unknown[] = []>(
  sessions: Sessions<Data>,
  handler: (request: Request, session: Session<Data>, ...rest: Rest) => Response | Promise<Response>,
  { address }: { address?: (request: Request) => string | null } = {},
): (request: Request, ...rest: Rest) => Promise<Response> {
  return async (request, ...rest) => {
    const exchange = new FetchExchange(request, address?.(request) ?? null)
    try {
      return exchange.complete(await handler(request, await sessions.open(exchange), ...rest))
    } catch (error) {
      const { status, headers, body } = problem(error)
      if (status === 500 && exchange.cookies.size === 0) throw error
      return exchange.complete(answerOfNext(error) ?? new Response(body, { status, headers }))
    }
  }
}

/** What Next.js makes of that which its `redirect()` and `notFound()` throw; by itself it would leave out the cookies. */
function answerOfNext(error: unknown): Response | null {
  const [kind, ...rest] = String((error as { digest?: unknown } | null)?.digest).split(';')
  if (kind === 'NEXT_HTTP_ERROR_FALLBACK') return new Response(null, { status: Number(rest[0]) })
  if (kind !== 'NEXT_REDIRECT') return null
  // Its type, the URL, which may have semicolons, the status, and nothing.
  return new Response(null, { status: Number(rest.at(-2)), headers: { location: rest.slice(1, -2).join(';') } })
}
