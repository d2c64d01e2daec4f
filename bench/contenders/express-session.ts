// express-session in Express 5 with its MemoryStore (memory) or connect-redis (redis; redis-timeouts keeps node-redis's default).
// `resave: false` and `saveUninitialized: false` as its documentation asks; touch is on, as it is by default.
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import express, { type Request, type RequestHandler } from 'express'
import { answerFrom, connectRedis, contend, contentOf, userIn, variant } from '../harness/contender.ts'
import type { Content } from '../harness/person.ts'

// Their types would put their session into every Express request of this repository.
const require = createRequire(import.meta.url)
const session = require('express-session') as (o: object) => RequestHandler
const { RedisStore } = require('connect-redis') as { RedisStore: new (o: object) => object }
type WithSession = Request & { session: Content }

const timeout = variant === 'redis-timeouts' ? 'default' : 'none'
const store = variant === 'memory' ? undefined : new RedisStore({ client: await connectRedis(timeout) })
const app = express()
app.use(
  session({ store, secret: 'a secret of the bench, and of nothing else', resave: false, saveUninitialized: false }),
)
app.get('/', (request, response) => {
  response.json(answerFrom((request as unknown as WithSession).session))
})
app.post('/', (request, response) => {
  Object.assign((request as unknown as WithSession).session, contentOf(userIn(request.headers)))
  response.end()
})
contend(createServer(app))
