// Holdfast in Express 5, in all variants.
import { createServer } from 'node:http'
import express, { type Request } from 'express'
import type { SessionOf } from 'holdfast'
import { sessionMiddleware } from 'holdfast/adapters/express'
import { contend, userIn } from '../harness/contender.ts'
import { answerOf, begin, sessions } from '../harness/holdfast.ts'

type WithSession = Request & { session: SessionOf<typeof sessions> }

const app = express()
app.use(sessionMiddleware(sessions))
app.get('/', async (request, response) => {
  response.json(await answerOf((request as unknown as WithSession).session))
})
app.post('/', async (request, response) => {
  await begin((request as unknown as WithSession).session, userIn(request.headers), response)
  response.end()
})
contend(createServer(app))
