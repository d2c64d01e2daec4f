// What happens to every request before its call and after its answer.
import type { FastifyRequest } from 'fastify'
import { Problem } from '../problems.ts'
import type { App, Service } from '../server.ts'
import { authorize, basicAuthentication } from './auth.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** A GET that goes on and on, and that pages of other sites may not open. */
    stream?: boolean
  }
}

export function addAuthentication(app: App, { clients, limits, logger, metrics, state }: Service): void {
  const authenticate = basicAuthentication(clients, limits, () => metrics.clientRefused())

  app.decorateRequest('client', null)

  app.addHook('onRequest', (request, reply, done) => {
    reply.header('cache-control', 'no-store')
    try {
      checkHeaders(request)
      if (request.routeOptions.config.permission === undefined) return done()
      refuseCrossSite(request)
      const client = authenticate(request)
      if (client instanceof Promise) {
        client.then((known) => permit(request, known)).then(() => done(), done)
        return
      }
      permit(request, client)
    } catch (error) {
      return done(error as Error)
    }
    done()
  })

  app.addHook('onSend', (_request, reply, payload, done) => {
    reply.header('x-content-type-options', 'nosniff')
    // The next request belongs on another connection, to a service that stays.
    if (state.stopping) reply.header('connection', 'close')
    done(null, payload)
  })

  app.addHook('onResponse', (request, reply, done) => {
    const { method } = request
    // The pattern, not the path: paths hold ids of sessions and users.
    const route = request.routeOptions.url ?? 'none'
    const ms = reply.elapsedTime
    const status = reply.statusCode
    metrics.answered(method, route, status, ms / 1000)
    // A follower asks several times a second, and each answer is like the other.
    const isWorthALine = status !== 200 || request.routeOptions.config.stream !== true
    if (isWorthALine && logger.isLevelEnabled('info')) {
      logger.info(
        { id: request.id, method, route, status, ms: Math.round(ms * 100) / 100, client: request.client?.id },
        'request',
      )
    }
    done()
  })
}

function permit(request: FastifyRequest, client: NonNullable<FastifyRequest['client']>): void {
  request.client = client
  authorize(client, request)
}

/** node:http keeps the first of two such fields, silently, and whoever stands before us may have looked at the other. */
function checkHeaders({ raw }: FastifyRequest): void {
  let hosts = 0
  let authorizations = 0
  const { rawHeaders } = raw
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const { length } = rawHeaders[i]!
    if (length === 4 && rawHeaders[i]!.toLowerCase() === 'host') hosts++
    else if (length === 13 && rawHeaders[i]!.toLowerCase() === 'authorization') authorizations++
  }
  if (authorizations > 1) throw duplicate('Authorization')
  if (hosts > 1) throw duplicate('Host')
  if (hosts === 0 && raw.httpVersion === '1.1') throw new Problem(400, 'invalid-request', 'the Host header is missing')
}

function duplicate(name: string): Problem {
  return new Problem(400, 'duplicate-header', `there is more than one ${name} header`)
}

/** A browser sends the Basic credentials it knows with any request; another site must not make it change something here. */
function refuseCrossSite({ method, headers, routeOptions }: FastifyRequest): void {
  // A stream can be read by any page that may open it; other reads can't.
  if ((method === 'GET' || method === 'HEAD') && routeOptions.config.stream !== true) return
  const site = headers['sec-fetch-site']
  const { origin } = headers
  const own =
    site !== undefined
      ? site === 'same-origin' || site === 'none'
      : origin === undefined || (URL.canParse(origin) && new URL(origin).host === headers.host)
  if (!own) throw new Problem(403, 'cross-site', 'refused: this is for no page of another site')
}
