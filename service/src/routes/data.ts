// Data of a session, section by section, each with an entity tag; nobody overwrites what it has not seen.
import type { SessionRecord } from 'holdfast'
import { inTime } from '../engines/in-time.ts'
import { check, etag, isFresh, readCondition, type Condition } from '../http/etags.ts'
import { may } from '../permissions.ts'
import { noSession, Problem } from '../problems.ts'
import { byId, bySection, noQuery, nothing, sectionsShape, valueShape } from '../schemas.ts'
import type { App, Service } from '../server.ts'
import { withoutBody } from './shown.ts'

export function dataRoutes(app: App, { sessions, store }: Service): void {
  /** Writes a section if the condition still holds at the moment of writing: a replay after a conflict checks it again. */
  async function write(
    id: string,
    section: string,
    condition: Condition,
    value: unknown,
  ): Promise<{ existed: boolean }> {
    const session = await sessions.get(id)
    if (session === null) throw noSession()
    let existed = false
    await session.update(section, (current) => {
      check(condition, current)
      existed = current !== undefined
      return value
    })
    return { existed }
  }

  app.get(
    '/v1/sessions/:id/data',
    {
      config: { permission: 'read', section: 'some' },
      schema: {
        operationId: 'getData',
        summary: 'All sections that the caller may read',
        tags: ['data'],
        querystring: noQuery,
        params: byId,
        response: { 200: sectionsShape },
      },
    },
    async (request) => {
      const { id } = request.params
      // The library judges whether it is alive; it reads sections only by name, and here the names are wanted.
      const record = (await sessions.get(id)) === null ? null : await inTime(store.get(id))
      if (record === null) throw noSession()
      return Object.fromEntries(
        Object.entries(dataOf(record)).filter(([section]) => may(request.client!, 'read', section)),
      )
    },
  )

  app.get(
    '/v1/sessions/:id/data/:section',
    {
      config: { permission: 'read', section: 'param' },
      schema: {
        operationId: 'getSection',
        summary: 'One section, with its ETag',
        tags: ['data'],
        querystring: noQuery,
        params: bySection,
        response: { 200: valueShape, 304: nothing },
      },
    },
    async (request, reply) => {
      const { id, section } = request.params
      const session = await sessions.get(id)
      if (session === null) throw noSession()
      const value = await session.read(section)
      const tag = etag(value)
      if (tag === null) throw noSection(section)
      reply.header('etag', tag)
      if (isFresh(request.headers['if-none-match'], tag)) return withoutBody(reply.code(304))
      return sendJson(reply, value)
    },
  )

  app.put(
    '/v1/sessions/:id/data/:section',
    {
      config: { permission: 'write', section: 'param' },
      schema: {
        operationId: 'putSection',
        summary: 'Write a section: with If-Match what was read, with If-None-Match: * one that is new',
        tags: ['data'],
        querystring: noQuery,
        params: bySection,
        body: valueShape,
        response: { 201: nothing, 204: nothing },
      },
      // Fastify validates a body that is missing as `null`, which is a value of its own here.
      preValidation(request, _reply, done) {
        const missing = new Problem(400, 'invalid-json', 'the body is empty; it must be the JSON value of the section')
        done(request.body === undefined ? missing : undefined)
      },
    },
    async (request, reply) => {
      const { id, section } = request.params
      const value = request.body
      const { existed } = await write(id, section, readCondition(request.headers), value)
      return withoutBody(reply.code(existed ? 204 : 201).header('etag', etag(value)!))
    },
  )

  app.delete(
    '/v1/sessions/:id/data/:section',
    {
      config: { permission: 'write', section: 'param' },
      schema: {
        operationId: 'deleteSection',
        summary: 'Remove a section, with If-Match',
        tags: ['data'],
        querystring: noQuery,
        params: bySection,
        response: { 204: nothing },
      },
    },
    async (request, reply) => {
      const { id, section } = request.params
      const { existed } = await write(id, section, readCondition(request.headers), undefined)
      if (!existed) throw noSection(section)
      return withoutBody(reply.code(204))
    },
  )
}

function noSection(section: string): Problem {
  return new Problem(404, 'no-such-section', `the session has no section '${section}'`)
}

function dataOf({ data }: SessionRecord): Record<string, unknown> {
  return JSON.parse(data) as Record<string, unknown>
}

/** A text is a JSON value too, which Fastify would send as it stands. */
function sendJson<Reply extends { type(type: string): { send(body: string): Reply } }>(
  reply: Reply,
  value: unknown,
): Reply {
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(value))
}
