// A fetch handler on @hono/node-server without sessions (bare), and with Holdfast in any other variant.
import { createServer } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { withSession } from 'holdfast/adapters/fetch'
import { answerFrom, contend, contentOf, idleCookie, variant } from '../harness/contender.ts'

const known = contentOf(0)
const userIn = (request: Request) => Number(request.headers.get('x-user'))

contend(createServer(getRequestListener(variant === 'bare' ? bare : await withHoldfast())))

function bare(request: Request): Response {
  if (request.method === 'GET') return Response.json(answerFrom(known))
  return new Response(null, { status: 204, headers: { 'set-cookie': idleCookie(userIn(request)) } })
}

async function withHoldfast() {
  const { sessions, answerOf, begin } = await import('../harness/holdfast.ts')
  return withSession(sessions, async (request, session) => {
    if (request.method === 'GET') return Response.json(await answerOf(session))
    await begin(session, userIn(request))
    return new Response(null, { status: 204 })
  })
}
