// @fastify/secure-session 8 in Fastify 5: the whole session sealed in the cookie, nothing on the server.
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import fastify, { type FastifyPluginCallback, type FastifyRequest } from 'fastify'
import { answerFrom, contend, contentOf, userIn } from '../harness/contender.ts'
import type { Content } from '../harness/person.ts'

// Their types would put their session into every Fastify request of this repository.
const require = createRequire(import.meta.url)
const session = require('@fastify/secure-session') as FastifyPluginCallback<Record<string, unknown>>
type WithSession = FastifyRequest & { session: Content }

const app = fastify()
app.register(session, { key: randomBytes(32), cookie: { path: '/' } })
app.get('/', async (request) => answerFrom((request as WithSession).session))
app.post('/', async (request, reply) => {
  Object.assign((request as WithSession).session, contentOf(userIn(request.headers)))
  return reply.send()
})
await app.ready()
contend(app.server)
