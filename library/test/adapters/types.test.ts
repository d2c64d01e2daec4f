// The typed session in every framework: the sections that were declared, with their types, and no others. Most of it is checked when this
// file is compiled; nothing of that is run.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { ServerUnaryCall } from '@grpc/grpc-js'
import type { ExecutionContext } from '@nestjs/common'
import type { FastifyInstance } from 'fastify'
import { createSessions, type SessionOf } from 'holdfast'
import { sessionPlugin } from 'holdfast/adapters/fastify'
import { withSession } from 'holdfast/adapters/fetch'
import { sessionInterceptor } from 'holdfast/adapters/grpc'
import * as hono from 'holdfast/adapters/hono'
import * as koa from 'holdfast/adapters/koa'
import { sessionIn } from 'holdfast/adapters/nest'
import { sessionHandler, sessionOpener } from 'holdfast/adapters/node'
import * as socketIo from 'holdfast/adapters/socket-io'
import { sessionUpgrade } from 'holdfast/adapters/ws'
import { memoryStore } from 'holdfast/stores/memory'
import type { Hono } from 'hono'
import type Koa from 'koa'
import type { DefaultEventsMap, Server } from 'socket.io'
import type { WebSocketServer } from 'ws'
import * as z from 'zod'

type Sessions = ReturnType<typeof makeSessions>

function makeSessions() {
  return createSessions({ store: memoryStore(), data: { cart: z.array(z.string()).default([]) } })
}

async function isTyped(session: SessionOf<Sessions>): Promise<void> {
  const cart: readonly string[] = await session.read('cart')
  await session.update('cart', (items) => [...items, ...cart])
}

export const typed = {
  node(sessions: Sessions, request: IncomingMessage, response: ServerResponse) {
    sessionHandler(sessions, async (_request, _response, session) => {
      await isTyped(session)
      // @ts-expect-error there is no such section
      await session.read('basket')
      // @ts-expect-error of another type
      await session.update('cart', () => [1])
    })
    return sessionOpener(sessions)(request, response).then((session) => isTyped(session))
  },

  fetch(sessions: Sessions) {
    // As a route of Next.js takes it: what comes after the request keeps its type.
    const route: (request: Request, context: { params: Promise<{ id: string }> }) => Promise<Response> = withSession(
      sessions,
      async (_request, session, { params }: { params: Promise<{ id: string }> }) => {
        await isTyped(session)
        // @ts-expect-error there is no such section
        await session.read('basket')
        return new Response((await params).id)
      },
    )
    return route
  },

  fastify(app: FastifyInstance, sessions: Sessions) {
    void app.register(sessionPlugin(sessions))
    app.get('/', async (request) => {
      const session = request.getDecorator<SessionOf<typeof sessions>>('session')
      await isTyped(session)
      // @ts-expect-error there is no such section
      await session.read('basket')
    })
  },

  koa(app: Koa<{ session: SessionOf<Sessions> }>, sessions: Sessions) {
    app.use(koa.sessionMiddleware(sessions))
    app.use(koa.requires('orders:read'))
    app.use(async (ctx) => {
      await isTyped(ctx.state.session)
      // @ts-expect-error there is no such section
      await ctx.state.session.read('basket')
    })
  },

  hono(app: Hono<hono.SessionEnv<Sessions>>, sessions: Sessions) {
    app.use(hono.sessionMiddleware(sessions))
    app.get('/', hono.requires('orders:read'), async (c) => {
      await isTyped(c.var.session)
      await isTyped(c.get('session'))
      // @ts-expect-error there is no such section
      await c.var.session.read('basket')
      return c.text('')
    })
  },

  /** A parameter has the type that is written beside its decorator, which only fetches it. */
  async nest(context: ExecutionContext) {
    const session: SessionOf<Sessions> = sessionIn(context)
    await isTyped(session)
    // @ts-expect-error there is no such section
    await session.read('basket')
  },

  ws(server: WebSocketServer, sessions: Sessions) {
    sessionUpgrade(sessions, server, async (_socket, session) => {
      await isTyped(session)
      // @ts-expect-error there is no such section
      await session.read('basket')
    })
  },

  socketIo(
    io: Server<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, { session: SessionOf<Sessions> }>,
    sessions: Sessions,
  ) {
    io.use(socketIo.sessionMiddleware(sessions))
    io.on('connection', async ({ data }) => {
      await isTyped(data.session)
      // @ts-expect-error there is no such section
      await data.session.read('basket')
    })
  },

  async grpc(sessions: Sessions, call: ServerUnaryCall<unknown, unknown>) {
    const session = sessionInterceptor(sessions).sessionOf(call)
    await isTyped(session)
    // @ts-expect-error there is no such section
    await session.read('basket')
  },
}

/** An application declares `req.session` for itself alone, so this one is compiled alone. */
const onExpress = `
import express from 'express'
import { createSessions, type SessionOf } from 'holdfast'
import { requires, sessionMiddleware } from 'holdfast/adapters/express'
import { memoryStore } from 'holdfast/stores/memory'
import * as z from 'zod'

const sessions = createSessions({ store: memoryStore(), data: { cart: z.array(z.string()).default([]) } })
declare global {
  namespace Express {
    interface Request {
      session: SessionOf<typeof sessions>
    }
  }
}
const app = express().use(sessionMiddleware(sessions))
app.get('/', requires({ within: '5m' }), async (request, response) => {
  const cart: string[] = await request.session.read('cart')
  // @ts-expect-error there is no such section
  await request.session.read('basket')
  // @ts-expect-error of another type
  await request.session.update('cart', () => [1])
  response.json(cart)
})
`

test('the typed session of Express', async () => {
  const root = join(import.meta.dirname, '../../..')
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-types-'))
  try {
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(folder, 'app.ts'), onExpress)
    const config = { extends: join(root, 'tsconfig.json'), include: ['app.ts'] }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', folder]).catch(
      ({ stdout }: { stdout: string }) => assert.fail(stdout),
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})
