// What everybody may know of the tokens: the public keys, and where what is.
import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { isFresh } from '../http/etags.ts'
import { jwksShape, metadataShape, noQuery, nothing } from '../schemas.ts'
import type { App, Service } from '../server.ts'
import { withoutBody } from './shown.ts'

/** Shorter than a new key is published before it signs. */
const maxAgeSeconds = 300

export function wellKnownRoutes(app: App, { keys, issuer }: Service): void {
  app.get(
    '/.well-known/jwks.json',
    {
      schema: {
        operationId: 'keys',
        summary: 'RFC 7517: the public keys of signed tokens, those to come included',
        tags: ['oauth'],
        security: [],
        querystring: noQuery,
        response: { 200: jwksShape, 304: nothing },
      },
    },
    async (request, reply) => cacheable(request, reply, await keys.jwks()),
  )

  const base = issuer.replace(/\/$/, '')
  const authMethods = ['client_secret_basic']
  const metadata = {
    issuer,
    jwks_uri: `${base}/.well-known/jwks.json`,
    introspection_endpoint: `${base}/oauth/introspect`,
    introspection_endpoint_auth_methods_supported: authMethods,
    revocation_endpoint: `${base}/oauth/revoke`,
    revocation_endpoint_auth_methods_supported: authMethods,
    // Users sign in elsewhere. Left out, these would stand for grants that there are not.
    response_types_supported: [],
    grant_types_supported: [],
    service_documentation: `${base}/docs`,
  }
  app.get(
    '/.well-known/oauth-authorization-server',
    {
      schema: {
        operationId: 'metadata',
        summary: 'RFC 8414: issuer, keys, introspection and revocation',
        tags: ['oauth'],
        security: [],
        querystring: noQuery,
        response: { 200: metadataShape, 304: nothing },
      },
    },
    async (request, reply) => cacheable(request, reply, metadata),
  )
}

function cacheable(request: FastifyRequest, reply: FastifyReply, value: object): never {
  const body = JSON.stringify(value)
  const etag = `"${hash('sha256', body, 'base64url').slice(0, 22)}"`
  reply.headers({ etag, 'cache-control': `public, max-age=${maxAgeSeconds}` })
  if (isFresh(request.headers['if-none-match'], etag)) return withoutBody(reply.code(304)) as never
  return reply.type('application/json; charset=utf-8').send(body) as never
}
