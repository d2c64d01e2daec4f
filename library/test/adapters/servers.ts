// The frameworks of the adapters under test, each as its users would set it up.
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import express from 'express'
import fastify from 'fastify'
import { sessionMiddleware } from 'holdfast/adapters/express'
import { withSession } from 'holdfast/adapters/fetch'
import { sessionHandler, sessionOpener } from 'holdfast/adapters/node'
import type { AdapterAnswer, ServeAdapter } from 'holdfast/testing'

type AnySession = Parameters<Parameters<ServeAdapter>[1]>[0]

export async function listen(listener: RequestListener): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function asked(request: IncomingMessage): Promise<{ method: string; path: string; body: string }> {
  return { method: request.method!, path: request.url!, body: await text(request) }
}

export const onNode: ServeAdapter = (sessions, handle) =>
  listen(
    sessionHandler(sessions, async (request, response, session) => {
      const { status, headers = [], body } = await handle(session, await asked(request))
      for (const [name, value] of headers) response.appendHeader(name, value)
      response.writeHead(status).end(body)
    }),
  )

export const onFetch: ServeAdapter = (sessions, handle) =>
  listen(
    overFetch(
      withSession(sessions, async (request, session) => {
        const { pathname, search } = new URL(request.url)
        const answer = await handle(session, {
          method: request.method,
          path: pathname + search,
          body: await request.text(),
        })
        return toResponse(answer)
      }),
    ),
  )

export function toResponse({ status, headers = [], body }: AdapterAnswer): Response {
  return new Response(body ?? null, {
    status,
    headers: headers.map(([name, value]): [string, string] => [name, value]),
  })
}

/** node:http in front of a fetch handler, as runtimes with fetch handlers have it built in. */
export function overFetch(handler: (request: Request) => Promise<Response>): RequestListener {
  return (incoming, outgoing) => {
    const headers = new Headers()
    for (let i = 0; i < incoming.rawHeaders.length; i += 2)
      headers.append(incoming.rawHeaders[i]!, incoming.rawHeaders[i + 1]!)
    const hasBody = !['GET', 'HEAD'].includes(incoming.method!)
    const request = new Request(`http://${incoming.headers.host}${incoming.url}`, {
      method: incoming.method!,
      headers,
      ...(hasBody ? { body: Readable.toWeb(incoming) as ReadableStream, duplex: 'half' } : {}),
    } as RequestInit)
    handler(request).then(
      async (response) => {
        for (const [name, value] of response.headers) outgoing.appendHeader(name, value)
        outgoing.writeHead(response.status).end(await response.text())
      },
      () => outgoing.writeHead(500).end(),
    )
  }
}

/** An application declares the type once; here two of them would have to agree. */
export function sessionOf(request: object): AnySession {
  return (request as { session: AnySession }).session
}

export const onExpress: ServeAdapter = (sessions, handle) => {
  const app = express()
  app.set('env', 'test')
  app.use(sessionMiddleware(sessions))
  app.use(express.text({ type: () => true }))
  app.use(async (request, response) => {
    const {
      status,
      headers = [],
      body,
    } = await handle(sessionOf(request), {
      method: request.method,
      path: request.url,
      body: typeof request.body === 'string' ? request.body : '',
    })
    for (const [name, value] of headers) response.append(name, value)
    response.status(status).end(body)
  })
  return listen(app)
}

export const onFastify: ServeAdapter = async (sessions, handle) => {
  const app = fastify()
  const open = sessionOpener(sessions)
  app.decorateRequest('session')
  app.addHook('onRequest', async (request, reply) => {
    Object.assign(request, { session: await open(request.raw, reply.raw) })
  })
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.all('/*', async (request, reply) => {
    const {
      status,
      headers = [],
      body,
    } = await handle(sessionOf(request), {
      method: request.method,
      path: request.url,
      body: typeof request.body === 'string' ? request.body : '',
    })
    for (const [name, value] of headers) reply.raw.appendHeader(name, value)
    return reply.code(status).send(body)
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return { url, close: () => app.close() }
}
