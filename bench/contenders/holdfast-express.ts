// Holdfast in Express 5, on memory or Redis.
import { createServer } from 'node:http'
import express, { type Request } from 'express'
import type { SessionOf } from 'holdfast'
import { sessionMiddleware } from 'holdfast/adapters/express'
import { contend, userIn } from '../harness/contender.ts'
import { sessions } from '../harness/holdfast.ts'
import { amr, person, roles } from '../harness/person.ts'

type WithSession = Request & { session: SessionOf<typeof sessions> }

const app = express()
app.use(sessionMiddleware(sessions))
app.get('/', async (request, response) => {
  const { session } = request as unknown as WithSession
  response.json({ userId: session.userId, data: await session.read('profile') })
})
app.post('/', async (request, response) => {
  const { session } = request as unknown as WithSession
  const { userId, data } = person(userIn(request.headers))
  await session.signIn(userId, { roles, amr })
  await session.update('profile', () => data)
  response.end()
})
contend(createServer(app))
