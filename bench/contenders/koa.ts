// Koa 3 without sessions (bare), and with Holdfast in any other variant.
import Koa from 'koa'
import { sessionMiddleware } from 'holdfast/adapters/koa'
import { answerFrom, contend, contentOf, idleCookie, userIn, variant } from '../harness/contender.ts'
import { createServer } from 'node:http'

const known = contentOf(0)
const holdfast = variant === 'bare' ? null : await import('../harness/holdfast.ts')

const app = new Koa()
if (holdfast !== null) app.use(sessionMiddleware(holdfast.sessions))
app.use(async (ctx) => {
  const n = userIn(ctx.headers)
  if (ctx.method === 'GET')
    ctx.body = holdfast === null ? answerFrom(known) : await holdfast.answerOf(ctx.state['session'])
  else {
    if (holdfast === null) ctx.set('set-cookie', idleCookie(n))
    else await holdfast.begin(ctx.state['session'], n, ctx.res)
    ctx.status = 204
  }
})
contend(createServer(app.callback()))
