// Sessions: start, verify, look at, end.
import type { StartOptions } from 'holdfast'
import { missing } from '../http/auth.ts'
import { may, type Client } from '../permissions.ts'
import { invalid, noSession } from '../problems.ts'
import { byId, noQuery, nothing, sessionShape, startBody, startedShape, verifiedShape, verifyBody } from '../schemas.ts'
import type { App, Service } from '../server.ts'
import { shown, withoutBody, type AnyData } from './shown.ts'
import { countRefusal } from './refusals.ts'
import type { z } from 'zod'

/** Sections that a session may begin with. */
const maxSections = 100

export function sessionRoutes(app: App, { sessions, limits }: Service): void {
  app.post(
    '/v1/sessions',
    {
      config: { permission: 'start' },
      schema: {
        operationId: 'startSession',
        summary: 'Start a session, for a user who just authenticated or a guest',
        tags: ['sessions'],
        querystring: noQuery,
        body: startBody,
        response: { 201: startedShape },
      },
    },
    async (request, reply) => {
      const client = request.client!
      const { userId, ...body } = request.body
      const sections = Object.keys(body.data ?? {})
      if (sections.length > maxSections)
        throw invalid([{ path: 'body.data', message: `at most ${maxSections} sections, got ${sections.length}` }])
      for (const section of sections) {
        if (!may(client, 'write', section))
          throw missing('write', ` (or write:${section}), which data to begin with wants`)
      }
      const { session, token } = await sessions.start(userId, startOptions(body, client))
      return reply.code(201).send({ session: shown(session), token })
    },
  )

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
      const session = await sessions.open(request.body.token)
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
        summary: 'End a session; no replica accepts it once this is answered',
        tags: ['sessions'],
        querystring: noQuery,
        params: byId,
        response: { 204: nothing },
      },
    },
    async (request, reply) => {
      if (!(await sessions.end(request.params.id))) throw noSession()
      return withoutBody(reply.code(204))
    },
  )
}

function startOptions(o: Omit<z.output<typeof startBody>, 'userId'>, client: Client): StartOptions<AnyData> {
  const { roles, claims, amr, acr, remember, device, data } = o
  return {
    roles,
    claims,
    amr,
    acr,
    remember,
    data,
    userAgent: device?.userAgent,
    address: device?.address,
    client: client.id,
  }
}
