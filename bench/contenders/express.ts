// Express 5 without sessions (bare), and the floor: one GET through node-redis in the handler (get).
import { createServer } from 'node:http'
import express from 'express'
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

const known = answerFrom(contentOf(0))
const client = variant === 'get' ? await connectRedis() : null
const app = express()

if (client === null) app.get('/', (_request, response) => void response.json(known))
else {
  app.get('/', async (request, response) => {
    await client.get(`s:${personIn(request.headers.cookie!)}`)
    response.json(known)
  })
}
app.post('/', async (request, response) => {
  const n = userIn(request.headers)
  await client?.set(`s:${n}`, JSON.stringify(contentOf(n)))
  response.setHeader('set-cookie', idleCookie(n)).end()
})
contend(createServer(app))
