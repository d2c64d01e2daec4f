// Hono 4 on @hono/node-server without sessions (bare), and with Holdfast in any other variant.
import { createServer } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { sessionMiddleware, type SessionEnv } from 'holdfast/adapters/hono'
import { Hono } from 'hono'
import { answerFrom, contend, contentOf, idleCookie, userIn, variant } from '../harness/contender.ts'

const known = contentOf(0)
const holdfast = variant === 'bare' ? null : await import('../harness/holdfast.ts')

if (holdfast === null) {
  const app = new Hono()
  app.get('/', (c) => c.json(answerFrom(known)))
  app.post('/', (c) => c.body(null, 204, { 'set-cookie': idleCookie(userIn(c.req.header())) }))
  contend(createServer(getRequestListener(app.fetch)))
} else {
  const { sessions, answerOf, begin } = holdfast
  const app = new Hono<SessionEnv<typeof sessions>>()
  app.use(sessionMiddleware(sessions))
  app.get('/', async (c) => c.json(await answerOf(c.var.session)))
  app.post('/', async (c) => {
    await begin(c.var.session, userIn(c.req.header()))
    return c.body(null, 204)
  })
  contend(createServer(getRequestListener(app.fetch)))
}
