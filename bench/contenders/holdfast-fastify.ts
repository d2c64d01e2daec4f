// Holdfast in a hook of Fastify 5, on memory or Redis.
import fastify, { type FastifyRequest } from 'fastify'
import type { SessionOf } from 'holdfast'
import { sessionOpener } from 'holdfast/adapters/node'
import { contend, userIn } from '../harness/contender.ts'
import { sessions } from '../harness/holdfast.ts'
import { amr, person, roles } from '../harness/person.ts'

type WithSession = FastifyRequest & { session: SessionOf<typeof sessions> }

const open = sessionOpener(sessions)
const app = fastify()
app.decorateRequest('session', null)
app.addHook('onRequest', async (request, reply) => {
  Object.assign(request, { session: await open(request.raw, reply.raw) })
})
app.get('/', async (request) => {
  const { session } = request as WithSession
  return { userId: session.userId, data: await session.read('profile') }
})
app.post('/', async (request, reply) => {
  const { session } = request as WithSession
  const { userId, data } = person(userIn(request.headers))
  await session.signIn(userId, { roles, amr })
  await session.update('profile', () => data)
  return reply.send()
})
await app.ready()
contend(app.server)
