// iron-session 9 on node:http: the whole session sealed in the cookie, nothing on the server.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { getIronSession } from 'iron-session'
import { answerFrom, contend, contentOf, userIn } from '../harness/contender.ts'
import type { Content } from '../harness/person.ts'

const options = { password: 'a password of the bench, and of nothing else', cookieName: 'session' }

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const session = await getIronSession<Content>(request, response, options)
  if (request.method === 'POST') {
    Object.assign(session, contentOf(userIn(request.headers)))
    await session.save()
    response.end()
    return
  }
  response.setHeader('content-type', 'application/json; charset=utf-8')
  response.end(JSON.stringify(answerFrom(session as Content)))
}

contend(
  createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error))
  }),
)
