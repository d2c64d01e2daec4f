// Express 5 without sessions (bare), and the floor: one GET through node-redis in the handler (get).
import { createServer } from 'node:http'
import express from 'express'
import { connectRedis, contend, idleCookie, personIn, userIn, variant } from '../harness/contender.ts'
import { person } from '../harness/person.ts'

const { userId, data } = person(0)
const client = variant === 'get' ? await connectRedis() : null
const app = express()

if (client === null) app.get('/', (_request, response) => void response.json({ userId, data }))
else {
  app.get('/', async (request, response) => {
    await client.get(`s:${personIn(request.headers.cookie!)}`)
    response.json({ userId, data })
  })
}
app.post('/', async (request, response) => {
  const n = userIn(request.headers)
  await client?.set(`s:${n}`, JSON.stringify(person(n)))
  response.setHeader('set-cookie', idleCookie(n)).end()
})
contend(createServer(app))
