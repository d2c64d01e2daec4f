// @fastify/session in Fastify 5 with connect-redis. Defaults but for `saveUninitialized: false`, as its documentation advises;
// `rolling: false` is the variant that does not send the cookie again with every response.
import { createRequire } from 'node:module'
import fastify, { type FastifyPluginCallback, type FastifyRequest } from 'fastify'
import { answerFrom, connectRedis, contend, contentOf, userIn, variant } from '../harness/contender.ts'
import type { Content } from '../harness/person.ts'

// Their types would put their session into every Fastify request of this repository.
const require = createRequire(import.meta.url)
const cookies = require('@fastify/cookie') as FastifyPluginCallback
const session = require('@fastify/session') as FastifyPluginCallback<Record<string, unknown>>
const { RedisStore } = require('connect-redis') as { RedisStore: new (o: object) => object }
type WithSession = FastifyRequest & { session: Content }

const app = fastify()
app.register(cookies)
app.register(session, {
  store: new RedisStore({ client: await connectRedis() }),
  secret: 'a secret of the bench, and of nothing else',
  saveUninitialized: false,
  rolling: variant !== 'not-rolling',
  // The load comes without TLS.
  cookie: { secure: false },
})
app.get('/', async (request) => answerFrom((request as WithSession).session))
app.post('/', async (request, reply) => {
  Object.assign((request as WithSession).session, contentOf(userIn(request.headers)))
  return reply.send()
})
await app.ready()
contend(app.server)
