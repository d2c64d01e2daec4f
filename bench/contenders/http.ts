// node:http without sessions, sent a cookie (bare) or a bearer token (bearer), and the floors: a Map lookup (map), 4 µs of doing nothing
// (spin), one GET through node-redis (get).
import { createServer } from 'node:http'
import {
  answerFrom,
  connectRedis,
  contend,
  contentOf,
  idleCookie,
  personIn,
  userIn,
  variant,
} from '../harness/contender.ts'
import type { Content } from '../harness/person.ts'

const known = contentOf(0)
const people = new Map<string, Content>()
const client = variant === 'get' ? await connectRedis() : null
const bearer = variant === 'bearer' ? (await import('../harness/tokens.ts')).signing('EdDSA') : null

contend(
  createServer((request, response) => {
    if (request.method === 'POST') {
      start(userIn(request.headers)).then(
        ([name, value]) => response.setHeader(name, value).end(),
        (error: unknown) => response.destroy(error as Error),
      )
      return
    }
    if (variant === 'spin') for (const until = performance.now() + 0.004; performance.now() < until;);
    if (variant === 'map') reply(people.get(request.headers.cookie!)!)
    else if (client === null) reply(known)
    else {
      client.get(`s:${personIn(request.headers.cookie!)}`).then(
        () => reply(known),
        (error: unknown) => response.destroy(error as Error),
      )
    }

    function reply(held: Content): void {
      response.setHeader('content-type', 'application/json; charset=utf-8')
      response.end(JSON.stringify(answerFrom(held)))
    }
  }),
)

async function start(n: number): Promise<readonly [string, string]> {
  if (bearer !== null) return ['x-bearer', await bearer.accessToken(n)]
  people.set(idleCookie(n), contentOf(n))
  await client?.set(`s:${n}`, JSON.stringify(contentOf(n)))
  return ['set-cookie', idleCookie(n)]
}
