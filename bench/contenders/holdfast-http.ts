// Holdfast on node:http, in all variants.
import { createServer } from 'node:http'
import { sessionHandler } from 'holdfast/adapters/node'
import { contend, userIn } from '../harness/contender.ts'
import { answerOf, begin, sessions } from '../harness/holdfast.ts'

contend(
  createServer(
    sessionHandler(sessions, async (request, response, session) => {
      if (request.method === 'POST') {
        await begin(session, userIn(request.headers), response)
        response.end()
        return
      }
      const answer = await answerOf(session)
      response.setHeader('content-type', 'application/json; charset=utf-8')
      response.end(JSON.stringify(answer))
    }),
  ),
)
