// Holdfast in a hook of Fastify 5, in all variants.
import fastify, { type FastifyRequest } from 'fastify'
import type { SessionOf } from 'holdfast'
import { sessionOpener } from 'holdfast/adapters/node'
import { contend, userIn } from '../harness/contender.ts'
import { answerOf, begin, sessions } from '../harness/holdfast.ts'

type WithSession = FastifyRequest & { held: SessionOf<typeof sessions> }

const open = sessionOpener(sessions)
const app = fastify()
app.decorateRequest('held', null)
app.addHook('onRequest', async (request, reply) => {
  Object.assign(request, { held: await open(request.raw, reply.raw) })
})
app.get('/', async (request) => answerOf((request as WithSession).held))
app.post('/', async (request, reply) => {
  await begin((request as WithSession).held, userIn(request.headers), reply.raw)
  return reply.send()
})
await app.ready()
contend(app.server)
