// Holdfast on node:http, on memory or Redis.
import { createServer } from 'node:http'
import { sessionHandler } from 'holdfast/adapters/node'
import { contend, userIn } from '../harness/contender.ts'
import { sessions } from '../harness/holdfast.ts'
import { amr, person, roles } from '../harness/person.ts'

contend(
  createServer(
    sessionHandler(sessions, async (request, response, session) => {
      if (request.method === 'POST') {
        const { userId, data } = person(userIn(request.headers))
        await session.signIn(userId, { roles, amr })
        await session.update('profile', () => data)
        response.end()
        return
      }
      const data = await session.read('profile')
      response.setHeader('content-type', 'application/json; charset=utf-8')
      response.end(JSON.stringify({ userId: session.userId, data }))
    }),
  ),
)
