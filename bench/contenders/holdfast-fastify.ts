// Holdfast in a hook of Fastify 5, on memory or Redis.
import fastify, { type FastifyRequest } from 'fastify'
import type { SessionOf } from 'holdfast'
import { sessionOpener } from 'holdfast/adapters/node'
import { contend, userIn } from '../harness/contender.ts'
import { sessions } from '../harness/holdfast.ts'
import { amr, person, roles } from '../harness/person.ts'

type WithSession = FastifyRequest & { held: SessionOf<typeof sessions> }

const open = sessionOpener(sessions)
const app = fastify()
app.decorateRequest('held', null)
app.addHook('onRequest', async (request, reply) => {
  Object.assign(request, { held: await open(request.raw, reply.raw) })
})
app.get('/', async (request) => {
  const { held: session } = request as WithSession
  return { userId: session.userId, data: await session.read('profile') }
})
app.post('/', async (request, reply) => {
  const { held: session } = request as WithSession
  const { userId, data } = person(userIn(request.headers))
  await session.signIn(userId, { roles, amr })
  await session.update('profile', () => data)
  return reply.send()
})
await app.ready()
contend(app.server)
