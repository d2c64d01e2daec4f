// better-auth 1.6 `getSession` in Fastify 5 with Redis as secondary storage. The variant `cookie-cache` turns on its cookie cache,
// with which an ended session stays good for up to five minutes.
import { betterAuth } from 'better-auth'
import { memoryAdapter } from 'better-auth/adapters/memory'
import { fromNodeHeaders } from 'better-auth/node'
import fastify from 'fastify'
import { answerFrom, connectRedis, contend, contentOf, userIn, variant } from '../harness/contender.ts'
import type { Content } from '../harness/person.ts'

const client = await connectRedis()
const auth = betterAuth({
  baseURL: 'http://127.0.0.1',
  secret: 'a secret of the bench, and of nothing else',
  database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
  secondaryStorage: {
    get: (key) => client.get(key),
    set: async (key, value, ttl) =>
      void (await client.set(key, value, ttl ? { expiration: { type: 'EX', value: ttl } } : {})),
    delete: async (key) => void (await client.del(key)),
  },
  // Password hashing is no part of what is measured.
  emailAndPassword: { enabled: true, password: { hash: async (password) => password, verify: async () => true } },
  session: {
    additionalFields: { data: { type: 'string', required: false } },
    cookieCache: { enabled: variant === 'cookie-cache' },
  },
  telemetry: { enabled: false },
})

const app = fastify()
app.get('/', async (request) => {
  const found = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) })
  const held = JSON.parse(found!.session.data!) as Omit<Content, 'userId'>
  return answerFrom({ ...held, userId: found!.user.name })
})
app.post('/', async (request, reply) => {
  const { userId, ...held } = contentOf(userIn(request.headers))
  const body = { name: userId, email: `${userId}@shop.example`, password: 'correct horse' }
  const signedUp = await auth.api.signUpEmail({ body, returnHeaders: true })
  const cookie = pairs(signedUp.headers)
  const changed = await auth.api.updateSession({
    body: { data: JSON.stringify(held) },
    headers: new Headers({ cookie }),
    returnHeaders: true,
  })
  return reply.header('set-cookie', [...signedUp.headers.getSetCookie(), ...changed.headers.getSetCookie()]).send()
})
await app.ready()
contend(app.server)

function pairs(headers: Headers): string {
  return headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ')
}
