// Holdfast in Fastify 5, in all variants.
import fastify from 'fastify'
import type { SessionOf } from 'holdfast'
import { sessionPlugin } from 'holdfast/adapters/fastify'
import { contend, userIn } from '../harness/contender.ts'
import { answerOf, begin, sessions } from '../harness/holdfast.ts'

type Held = SessionOf<typeof sessions>

const app = fastify()
await app.register(sessionPlugin(sessions))
app.get('/', async (request) => answerOf(request.getDecorator<Held>('session')))
app.post('/', async (request, reply) => {
  await begin(request.getDecorator<Held>('session'), userIn(request.headers), reply.raw)
  return reply.send()
})
await app.ready()
contend(app.server)
