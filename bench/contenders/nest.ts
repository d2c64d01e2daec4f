// NestJS on Express without sessions (bare), and with Holdfast in any other variant.
import 'reflect-metadata'
import type { Server } from 'node:http'
import { Controller, Get, Post, Req, Res } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import type { Request, Response } from 'express'
import { sessionErrors, sessionMiddleware } from 'holdfast/adapters/nest'
import type { SessionOf } from 'holdfast'
import { answerFrom, contend, contentOf, idleCookie, userIn, variant } from '../harness/contender.ts'

const known = contentOf(0)
const holdfast = variant === 'bare' ? null : await import('../harness/holdfast.ts')
type WithSession = { session: SessionOf<NonNullable<typeof holdfast>['sessions']> }

// As the decorators do it, which plain type stripping can't.
class Root {
  async get(request: Request & WithSession): Promise<object> {
    return holdfast === null ? answerFrom(known) : holdfast.answerOf(request.session)
  }

  async post(request: Request & WithSession, response: Response): Promise<void> {
    const n = userIn(request.headers)
    if (holdfast === null) response.setHeader('set-cookie', idleCookie(n))
    else await holdfast.begin(request.session, n)
    response.end()
  }
}
for (const [name, route] of [
  ['get', Get()],
  ['post', Post()],
] as const) {
  route(Root.prototype, name, Object.getOwnPropertyDescriptor(Root.prototype, name)!)
  Req()(Root.prototype, name, 0)
}
Res()(Root.prototype, 'post', 1)
Controller()(Root)

const app = await NestFactory.create({ module: Root, controllers: [Root] }, { logger: false, bodyParser: false })
if (holdfast !== null) {
  app.use(sessionMiddleware(holdfast.sessions))
  app.useGlobalFilters(sessionErrors())
}
await app.init()
contend(app.getHttpServer() as Server)
