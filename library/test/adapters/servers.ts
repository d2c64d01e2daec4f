// The frameworks of the adapters under test, each as its users would set it up.
import 'reflect-metadata'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { serve as honoServer } from '@hono/node-server'
import { All, Controller, Req, Res } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify'
import express, { type Request as ExpressRequest, type Response as ExpressResponse } from 'express'
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { sessionMiddleware } from 'holdfast/adapters/express'
import { sessionPlugin } from 'holdfast/adapters/fastify'
import { withSession } from 'holdfast/adapters/fetch'
import { sessionMiddleware as honoMiddleware, type SessionEnv } from 'holdfast/adapters/hono'
import { sessionMiddleware as koaMiddleware } from 'holdfast/adapters/koa'
import { sessionErrors, sessionMiddleware as nestMiddleware } from 'holdfast/adapters/nest'
import { sessionHandler } from 'holdfast/adapters/node'
import type { AdapterAnswer, ServeAdapter } from 'holdfast/testing'
import { Hono } from 'hono'
import Koa from 'koa'

type AnySession = Parameters<Parameters<ServeAdapter>[1]>[0]

export function listen(listener: RequestListener): Promise<{ url: string; close(): Promise<void> }> {
  return listening(createServer(listener))
}

export async function listening(server: Server): Promise<{ url: string; close(): Promise<void> }> {
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
  await app.register(sessionPlugin(sessions))
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.all('/*', async (request, reply) => {
    const body = typeof request.body === 'string' ? request.body : ''
    const session = request.getDecorator<AnySession>('session')
    return answerBy(reply, await handle(session, { method: request.method, path: request.url, body }))
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return { url, close: () => app.close() }
}

export const onKoa: ServeAdapter = (sessions, handle) => {
  const app = new Koa<{ session: AnySession }>()
  app.use(koaMiddleware(sessions))
  app.use(async (ctx) => {
    const { status, headers = [], body } = await handle(ctx.state.session, await asked(ctx.req))
    for (const [name, value] of headers) ctx.append(name, value)
    ctx.status = status
    ctx.body = body ?? null
    ctx.status = status
  })
  return listen(app.callback())
}

export const onHono: ServeAdapter = async (sessions, handle) => {
  const app = new Hono<SessionEnv<typeof sessions>>()
  app.use(honoMiddleware(sessions))
  app.all('*', async (c) => {
    const { pathname, search } = new URL(c.req.url)
    return toResponse(
      await handle(c.var.session, { method: c.req.method, path: pathname + search, body: await c.req.text() }),
    )
  })
  const server = honoServer({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, close: () => new Promise((resolve) => server.close(() => resolve())) }
}

export const onNest: ServeAdapter = async (sessions, handle) => {
  const module = everything(
    '{*path}',
    async ({ session, method, url, body }: ExpressRequest & WithSession, response) => {
      const answer = await handle(session, { method, path: url, body: typeof body === 'string' ? body : '' })
      for (const [name, value] of answer.headers ?? []) (response as ExpressResponse).append(name, value)
      ;(response as ExpressResponse).status(answer.status).end(answer.body)
    },
  )
  const app = await NestFactory.create(module, { logger: false, bodyParser: false })
  app.use(nestMiddleware(sessions), express.text({ type: () => true }))
  app.useGlobalFilters(sessionErrors())
  await app.listen(0, '127.0.0.1')
  return { url: await app.getUrl(), close: () => app.close() }
}

export const onNestFastify: ServeAdapter = async (sessions, handle) => {
  const module = everything('*', async (request: FastifyRequest & WithSession, response) => {
    const { session, method, url, body } = request
    await answerBy(
      response as FastifyReply,
      await handle(session, { method, path: url, body: typeof body === 'string' ? body : '' }),
    )
  })
  const app = await NestFactory.create<NestFastifyApplication>(module, new FastifyAdapter(), {
    logger: false,
    bodyParser: false,
  })
  await app.register(sessionPlugin(sessions))
  app.useGlobalFilters(sessionErrors())
  app
    .getHttpAdapter()
    .getInstance()
    .addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  await app.listen(0, '127.0.0.1')
  return { url: await app.getUrl(), close: () => app.close() }
}

interface WithSession {
  session: AnySession
}

/** As the decorators do it, which plain type stripping can't: `@Controller() class { @All('*') … }`. */
function everything<Request>(path: string, all: (request: Request, response: unknown) => Promise<void>) {
  class Everything {
    all(request: Request, response: unknown): Promise<void> {
      return all(request, response)
    }
  }
  const method = Object.getOwnPropertyDescriptor(Everything.prototype, 'all')!
  All(path)(Everything.prototype, 'all', method)
  Req()(Everything.prototype, 'all', 0)
  Res()(Everything.prototype, 'all', 1)
  Controller()(Everything)
  return { module: Everything, controllers: [Everything] }
}

/** Fastify replaces headers, but for cookies, which it adds. */
function answerBy(reply: FastifyReply, { status, headers = [], body }: AdapterAnswer): FastifyReply {
  for (const [name, value] of headers) {
    reply.header(name, name === 'Vary' ? [reply.getHeader('vary') ?? [], value].flat().join(', ') : value)
  }
  return reply.code(status).send(body)
}
