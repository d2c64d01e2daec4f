// The OpenAPI document, made of the schemas that check the calls, and a page to read and try it.
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { jsonSchemaTransform } from 'fastify-type-provider-zod'
import { problemShape } from './schemas.ts'
import * as z from 'zod'
import type { App } from './server.ts'
import { version } from './version.ts'

/** Everything comes from here, over plain HTTP where that is how the service is reached: the default would ask for HTTPS. */
const pagePolicy = [
  "default-src 'self'",
  "base-uri 'none'",
  "font-src 'self' data:",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "img-src 'self' data:",
  "object-src 'none'",
  "style-src 'self' 'unsafe-inline'",
].join('; ')

export async function addOpenApi(app: App): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Holdfast session service',
        version,
        description:
          'Starts, verifies and ends sessions. Errors are RFC 9457 problems; no answer may be cached, but for what is well known.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: '/' }],
      components: { securitySchemes: { client: { type: 'http', scheme: 'basic' } } },
      security: [{ client: [] }],
      tags: [
        { name: 'sessions', description: 'Start, verify, look at, end' },
        { name: 'data', description: 'What a session holds, section by section' },
        { name: 'users', description: "A user's sessions and roles" },
        { name: 'feed', description: 'What ended or changed, for those who cache' },
        { name: 'oauth', description: 'RFC 7662, RFC 7009, RFC 8414 and the public keys' },
        { name: 'operation', description: 'Health and metrics' },
      ],
    },
    transform: withRefusals,
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: pagePolicy,
    theme: { title: 'Holdfast' },
    // Its default tells a validator elsewhere where the document is.
    uiConfig: { url: '/openapi.json', validatorUrl: null },
  })
  app.get('/', { schema: { hide: true } }, async (_request, reply) => reply.redirect('/docs/'))
  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(JSON.stringify(app.swagger())),
  )
}

type Transform = typeof jsonSchemaTransform

/** Every call can be refused; said once here and not at each. */
function withRefusals(o: Parameters<Transform>[0]): ReturnType<Transform> {
  const { schema } = o
  if (schema === undefined || schema.hide === true) return jsonSchemaTransform(o)
  const type = schema.consumes === undefined ? 'application/problem+json' : 'application/json'
  const refused = { description: 'Refused, and why', content: { [type]: { schema: problemShape } } }
  const response = { ...((schema.response as object | undefined) ?? { 200: z.string() }), default: refused }
  return jsonSchemaTransform({ ...o, schema: { ...schema, response } } as Parameters<Transform>[0])
}
