// Signed tokens (EdDSA) as bearer, verified in a hook of Fastify 5: by fast-jwt 6 with its cache (fast-jwt-cache) or without
// (fast-jwt), or by jose 6, which has none (jose). An ended session stays good until its token expires.
import fastify, { type FastifyRequest } from 'fastify'
import { answerFrom, contend, userIn, variant } from '../harness/contender.ts'
import { audience, issuer, signing } from '../harness/tokens.ts'

type WithClaims = FastifyRequest & { claims: { sub: string; roles: string[] } }
type Verify = (token: string) => Promise<unknown>

const { publicKey, accessToken } = signing('EdDSA')
const verify = variant === 'jose' ? await jose() : await fastJwt()
const app = fastify()
app.decorateRequest('claims', null)
app.addHook('onRequest', async (request) => {
  if (request.method === 'GET') {
    Object.assign(request, { claims: await verify(request.headers.authorization!.slice('Bearer '.length)) })
  }
})
app.get('/', async (request) => {
  const { sub, roles } = (request as WithClaims).claims
  return answerFrom({ userId: sub, roles })
})
app.post('/', async (request, reply) => reply.header('x-bearer', await accessToken(userIn(request.headers))).send())
await app.ready()
contend(app.server)

async function jose(): Promise<Verify> {
  const { jwtVerify } = await import('jose')
  const expected = { issuer, audience, typ: 'at+jwt', algorithms: ['EdDSA'] }
  return async (token) => (await jwtVerify(token, publicKey, expected)).payload
}

/** Its cache holds 1,000 tokens by default, as many as there are sessions; room for more, so that none is evicted. */
async function fastJwt(): Promise<Verify> {
  const { createVerifier } = await import('fast-jwt')
  const check = createVerifier({
    key: publicKey.export({ type: 'spki', format: 'pem' }),
    algorithms: ['EdDSA'],
    allowedIss: issuer,
    allowedAud: audience,
    cache: variant === 'fast-jwt-cache' ? 10_000 : false,
  })
  return check as unknown as Verify
}
