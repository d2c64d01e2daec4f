// Fastify 5 without sessions, sent a cookie (bare) or a bearer token (bearer), and the floor: a Map lookup (map).
import fastify from 'fastify'
import { answerFrom, contend, contentOf, idleCookie, userIn, variant } from '../harness/contender.ts'
import type { Content } from '../harness/person.ts'

const known = contentOf(0)
const people = new Map<string, Content>()
const bearer = variant === 'bearer' ? (await import('../harness/tokens.ts')).signing('EdDSA') : null

const app = fastify()
app.get('/', async ({ headers }) => answerFrom(variant === 'map' ? people.get(headers.cookie!)! : known))
app.post('/', async (request, reply) => {
  const n = userIn(request.headers)
  if (bearer !== null) return reply.header('x-bearer', await bearer.accessToken(n)).send()
  people.set(idleCookie(n), contentOf(n))
  return reply.header('set-cookie', idleCookie(n)).send()
})
await app.ready()
contend(app.server)
