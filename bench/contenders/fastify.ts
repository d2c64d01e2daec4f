// Fastify 5 without sessions.
import fastify from 'fastify'
import { contend, idleCookie, userIn } from '../harness/contender.ts'
import { person } from '../harness/person.ts'

const { userId, data } = person(0)
const app = fastify()
app.get('/', async () => ({ userId, data }))
app.post('/', async (request, reply) => reply.header('set-cookie', idleCookie(userIn(request.headers))).send())
await app.ready()
contend(app.server)
