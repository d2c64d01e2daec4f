// node:http without sessions (bare), and the floors: a Map lookup (map), one GET through node-redis (get).
import { createServer } from 'node:http'
import { connectRedis, contend, idleCookie, personIn, userIn, variant } from '../harness/contender.ts'
import { person, type Person } from '../harness/person.ts'

const known = person(0)
const people = new Map<number, Person>()
const client = variant === 'get' ? await connectRedis() : null

contend(
  createServer((request, response) => {
    if (request.method === 'POST') {
      start(userIn(request.headers)).then(
        (cookie) => response.setHeader('set-cookie', cookie).end(),
        (error: unknown) => response.destroy(error as Error),
      )
      return
    }
    if (variant === 'bare') answer(known)
    else if (client === null) answer(people.get(personIn(request.headers.cookie!))!)
    else {
      client.get(`s:${personIn(request.headers.cookie!)}`).then(
        () => answer(known),
        (error: unknown) => response.destroy(error as Error),
      )
    }

    function answer({ userId, data }: Person): void {
      response.setHeader('content-type', 'application/json; charset=utf-8')
      response.end(JSON.stringify({ userId, data }))
    }
  }),
)

async function start(n: number): Promise<string> {
  people.set(n, person(n))
  await client?.set(`s:${n}`, JSON.stringify(person(n)))
  return idleCookie(n)
}
