// What `requires(…)` lets through in every framework, and what it says where no session was opened before it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { serve as honoServer } from '@hono/node-server'
import { Controller, Get, UseGuards } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify'
import express, { type ErrorRequestHandler } from 'express'
import fastify from 'fastify'
import { createSessions, type Requirement, type Session, type SessionEvent, type Sessions } from 'holdfast'
import { requires as onExpress, sessionMiddleware as expressSessions } from 'holdfast/adapters/express'
import { requires as onFastify, sessionPlugin as fastifySessions } from 'holdfast/adapters/fastify'
import { withSession } from 'holdfast/adapters/fetch'
import { requires as onHono, sessionMiddleware as honoSessions } from 'holdfast/adapters/hono'
import { requires as onKoa, sessionMiddleware as koaSessions } from 'holdfast/adapters/koa'
import { requires as onNest, sessionErrors, sessionMiddleware as nestSessions } from 'holdfast/adapters/nest'
import { sessionHandler } from 'holdfast/adapters/node'
import { memoryStore } from 'holdfast/stores/memory'
import { fakeClock } from 'holdfast/testing/clock'
import { Hono } from 'hono'
import Koa from 'koa'
import { listen, overFetch } from './servers.ts'

type AnySessions = Sessions<Record<string, unknown>>

const guarded: Readonly<Record<string, string | Requirement>> = {
  '/permission': 'orders:read',
  '/recent': { within: '5m' },
  '/assured': { acr: ['aal2', 'aal3'] },
}

interface Framework {
  /** Serves the guarded paths. Without `sessions` nobody opened any before the guards; what they throw then goes to `errors`. */
  serve(sessions: AnySessions | null, errors: unknown[]): Promise<{ url: string; close(): Promise<unknown> | void }>
}

/** With a guard of its own. */
const frameworks: Record<string, Framework> = {
  Express: {
    serve(sessions, errors) {
      const app = express().set('env', 'test')
      if (sessions !== null) app.use(expressSessions(sessions))
      for (const [path, what] of Object.entries(guarded)) {
        app.get(path, onExpress(what), (_request, response) => void response.send('ok'))
      }
      app.use(((error, _request, _response, next) => {
        errors.push(error)
        next(error)
      }) satisfies ErrorRequestHandler)
      return listen(app)
    },
  },

  Fastify: {
    async serve(sessions, errors) {
      const app = fastify()
      if (sessions === null) app.decorateRequest('session')
      else await app.register(fastifySessions(sessions))
      for (const [path, what] of Object.entries(guarded)) {
        app.get(path, { preHandler: onFastify(what) }, async () => 'ok')
      }
      app.addHook('onError', async (_request, _reply, error) => void errors.push(error))
      return { url: await app.listen({ host: '127.0.0.1', port: 0 }), close: () => app.close() }
    },
  },

  Koa: {
    serve(sessions, errors) {
      const app = new Koa<{ session: Session<Record<string, unknown>> }>()
      app.on('error', (error) => errors.push(error))
      if (sessions !== null) app.use(koaSessions(sessions))
      app.use((ctx, next) => onKoa(guarded[ctx.path]!)(ctx, next))
      app.use((ctx) => void (ctx.body = 'ok'))
      return listen(app.callback())
    },
  },

  Hono: {
    async serve(sessions, errors) {
      const app = new Hono()
      if (sessions !== null) app.use(honoSessions(sessions))
      for (const [path, what] of Object.entries(guarded)) app.get(path, onHono(what), (c) => c.text('ok'))
      app.onError((error, c) => {
        errors.push(error)
        return c.text('', 500)
      })
      const server = honoServer({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 })
      await once(server, 'listening')
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      return { url, close: () => void server.close() }
    },
  },

  NestJS: {
    async serve(sessions, errors) {
      const app = await NestFactory.create(guardedModule(), { logger: noting(errors) })
      if (sessions !== null) app.use(nestSessions(sessions))
      app.useGlobalFilters(sessionErrors())
      await app.listen(0, '127.0.0.1')
      return { url: await app.getUrl(), close: () => app.close() }
    },
  },

  'NestJS on Fastify': {
    async serve(sessions, errors) {
      const options = { logger: noting(errors) }
      const app = await NestFactory.create<NestFastifyApplication>(guardedModule(), new FastifyAdapter(), options)
      if (sessions !== null) await app.register(fastifySessions(sessions))
      app.useGlobalFilters(sessionErrors())
      await app.listen(0, '127.0.0.1')
      return { url: await app.getUrl(), close: () => app.close() }
    },
  },
}

/** `@Controller() class { @Get('/permission') @UseGuards(requires('orders:read')) … }` */
function guardedModule() {
  class Guarded {
    ok(): string {
      return 'ok'
    }
  }
  for (const [path, what] of Object.entries(guarded)) {
    const method = { value: () => Guarded.prototype.ok() }
    Object.defineProperty(Guarded.prototype, path, method)
    Get(path)(Guarded.prototype, path, method)
    UseGuards(onNest(what))(Guarded.prototype, path, method)
  }
  Controller()(Guarded)
  return { module: Guarded, controllers: [Guarded] }
}

function noting(errors: unknown[]) {
  const ignore = () => {}
  return { log: ignore, warn: ignore, error: (error: unknown) => void errors.push(error) }
}

/** Whose handlers have the session as an argument. */
const handlers: Record<string, Framework> = {
  'node:http': {
    serve: (sessions) =>
      listen(
        sessionHandler(sessions!, (request, response, session) => {
          session.require(guarded[request.url!]!)
          response.end('ok')
        }),
      ),
  },
  fetch: {
    serve: (sessions) =>
      listen(
        overFetch(
          withSession(sessions!, (request, session) => {
            session.require(guarded[new URL(request.url).pathname]!)
            return new Response('ok')
          }),
        ),
      ),
  },
}

for (const [name, { serve }] of Object.entries({ ...frameworks, ...handlers })) {
  test(`${name}: a guard lets through only whom session.require lets through`, async () => {
    const clock = fakeClock()
    const denied: string[] = []
    const onEvent = (event: SessionEvent) => event.type === 'denied' && denied.push(event.missing)
    const roles = { clerk: ['orders:*'] }
    const sessions = createSessions({ store: memoryStore({ clock }), now: clock.now, onEvent, roles, data: {} })
    const { token: shopper } = await sessions.start('ada')
    const { token: clerk } = await sessions.start('bob', { roles: ['clerk'], acr: 'aal2' })
    const { token: guest } = await sessions.start(null)
    const { url, close } = await serve(sessions as unknown as AnySessions, [])

    const get = async (path: string, token: string | null) => {
      const headers = token === null ? {} : { cookie: `__Host-session=${token}` }
      const response = await fetch(url + path, { headers })
      return [response.status, denied.pop() ?? (await response.text())]
    }
    try {
      for (const path of Object.keys(guarded)) {
        for (const nobody of [null, guest]) assert.deepEqual(await get(path, nobody), [401, 'sign in first'], path)
        assert.deepEqual(await get(path, clerk), [200, 'ok'], path)
      }
      assert.deepEqual(await get('/permission', shopper), [403, 'missing permission: orders:read'])
      assert.deepEqual(await get('/recent', shopper), [200, 'ok'])
      assert.deepEqual(await get('/assured', shopper), [401, 'step up: this needs assurance aal2 or aal3'])
      clock.advance('5m')
      assert.deepEqual(await get('/recent', clerk), [200, 'ok'])
      clock.advance('1s')
      assert.deepEqual(await get('/recent', clerk), [401, 'sign in again: this needs an authentication within 5m'])
    } finally {
      await close()
    }
  })
}

for (const [name, { serve }] of Object.entries(frameworks)) {
  test(`${name}: a guard without the middleware lets nobody through, and says what is missing`, async () => {
    const errors: unknown[] = []
    const { url, close } = await serve(null, errors)
    try {
      for (const path of Object.keys(guarded)) assert.equal((await fetch(url + path)).status, 500)
    } finally {
      await close()
    }
    assert.equal(errors.length, Object.keys(guarded).length)
    for (const error of errors) assert.match(String(error), /put the session middleware before the guard/)
  })
}
