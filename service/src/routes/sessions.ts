// Sessions: verify, look at, end.
import { noSession } from '../problems.ts'
import { byId, noQuery, nothing, sessionShape, settledQuery, verifiedShape, verifyBody } from '../schemas.ts'
import type { App, Service } from '../server.ts'
import { openAssertion } from './assertions.ts'
import { countRefusal } from './refusals.ts'
import { shown, withoutBody } from './shown.ts'

export function sessionRoutes(app: App, service: Service): void {
  const { sessions, limits } = service

  app.post(
    '/v1/sessions/verify',
    {
      config: { permission: 'verify' },
      schema: {
        operationId: 'verifySession',
        summary: 'Whether a token stands for a live session, and which; using a session extends it',
        tags: ['sessions'],
        querystring: noQuery,
        body: verifyBody,
        response: { 200: verifiedShape },
      },
    },
    async (request) => {
      const { token, assertion } = request.body
      if (assertion !== undefined) {
        const asserted = await openAssertion(service, request.client!, assertion)
        if (typeof asserted !== 'string')
          return { active: true as const, session: shown(asserted.session), via: asserted.via }
        await countRefusal(limits, asserted, request)
        return { active: false as const, reason: asserted }
      }
      const session = await sessions.open(token!)
      if (session.refused === null) return { active: true as const, session: shown(session) }
      await countRefusal(limits, session.refused, request)
      return { active: false as const, reason: session.refused }
    },
  )

  app.get(
    '/v1/sessions/:id',
    {
      config: { permission: 'read' },
      schema: {
        operationId: 'getSession',
        summary: 'Look at a session',
        tags: ['sessions'],
        querystring: noQuery,
        params: byId,
        response: { 200: sessionShape },
      },
    },
    async (request) => {
      const session = await sessions.get(request.params.id)
      if (session === null) throw noSession()
      return shown(session)
    },
  )

  app.delete(
    '/v1/sessions/:id',
    {
      config: { permission: 'end' },
      schema: {
        operationId: 'endSession',
        summary: 'End a session; nobody who follows the feed accepts it for longer than HOLDFAST_MAX_STALENESS',
        tags: ['sessions'],
        querystring: settledQuery,
        params: byId,
        response: { 204: nothing },
      },
    },
    async (request, reply) => {
      const { settled } = request.query
      if (!(await sessions.end(request.params.id, { settled }))) throw noSession()
      return withoutBody(reply.code(204))
    },
  )
}
