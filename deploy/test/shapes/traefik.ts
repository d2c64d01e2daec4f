// What may stand in the files of Traefik: the fields that they use, by their names in Traefik 3.3, and no others.
import * as z from 'zod'

const { strictObject: object, array, string, literal, boolean, record } = z
const duration = string().regex(/^\d+(ms|s)$/)
const name = string().regex(/^[a-z-]+$/)
const header = string().regex(/^[\w-]+$/)

const middleware = z.union([
  object({ headers: object({ customRequestHeaders: record(header, string()) }) }),
  object({ retry: object({ attempts: z.int().positive(), initialInterval: duration }) }),
  object({
    forwardAuth: object({
      address: z.url(),
      trustForwardHeader: boolean(),
      preserveLocationHeader: boolean(),
      authResponseHeaders: array(header),
      addAuthCookiesToResponse: array(string()),
    }),
  }),
])

const service = object({
  loadBalancer: object({
    servers: array(object({ url: z.url() })),
    healthCheck: object({ path: string().startsWith('/'), interval: duration, timeout: duration }),
    serversTransport: name.optional(),
    sticky: object({
      cookie: object({
        name: string(),
        secure: boolean(),
        httpOnly: boolean(),
        sameSite: z.enum(['none', 'lax', 'strict']),
        path: string(),
      }),
    }).optional(),
  }),
})

/** dynamic.yaml */
export const dynamic = object({
  http: object({
    routers: record(
      name,
      object({ rule: string(), entryPoints: array(name), middlewares: array(name), service: name }),
    ),
    middlewares: record(name, middleware),
    services: record(name, service),
    serversTransports: record(
      name,
      object({ forwardingTimeouts: object({ dialTimeout: duration, responseHeaderTimeout: duration }) }),
    ),
  }),
})

/** traefik.yaml */
export const install = object({
  entryPoints: record(
    name,
    object({
      address: string().regex(/^[\d.]*:\d+$/),
      forwardedHeaders: object({ insecure: literal(false), trustedIPs: array(z.cidrv4()) }),
      http: object({ sanitizePath: boolean() }).optional(),
    }),
  ),
  providers: object({ file: object({ filename: string().startsWith('/') }) }),
})
