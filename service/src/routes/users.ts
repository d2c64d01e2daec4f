// Users: their sessions, the end of all of them, their roles.
import {
  byUser,
  changedShape,
  endAllQuery,
  endedShape,
  exceptQuery,
  listShape,
  noQuery,
  rolesBody,
} from '../schemas.ts'
import type { App, Service } from '../server.ts'

export function userRoutes(app: App, { sessions }: Service): void {
  app.get(
    '/v1/users/:userId/sessions',
    {
      config: { permission: 'read' },
      schema: {
        operationId: 'listUserSessions',
        summary: "A user's live sessions, newest first",
        tags: ['users'],
        querystring: exceptQuery,
        params: byUser,
        response: { 200: listShape },
      },
    },
    async (request) => {
      const { except } = request.query
      const all = await sessions.list(request.params.userId)
      const listed = all.filter(({ id }) => id !== except)
      return {
        sessions: listed.map(({ id, device, amr, createdAt, seenAt, expiresAt }) => {
          return { id, device, amr: [...amr], createdAt, seenAt, expiresAt }
        }),
      }
    },
  )

  app.delete(
    '/v1/users/:userId/sessions',
    {
      config: { permission: 'end' },
      schema: {
        operationId: 'endUserSessions',
        summary: "End a user's sessions, all or all but one",
        tags: ['users'],
        querystring: endAllQuery,
        params: byUser,
        response: { 200: endedShape },
      },
    },
    async (request) => {
      const { except = null, settled } = request.query
      return { ended: await sessions.endUser(request.params.userId, { except, settled }) }
    },
  )

  app.put(
    '/v1/users/:userId/roles',
    {
      config: { permission: 'admin' },
      schema: {
        operationId: 'setUserRoles',
        summary: "Change the roles in a user's live sessions, from their next request on",
        tags: ['users'],
        querystring: noQuery,
        params: byUser,
        body: rolesBody,
        response: { 200: changedShape },
      },
    },
    async (request) => ({ changed: await sessions.setRoles(request.params.userId, request.body.roles) }),
  )
}
