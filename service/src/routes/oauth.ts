// The two calls of OAuth that fit tokens which others issue: introspection (RFC 7662) and revocation (RFC 7009).
import { randomBytes } from 'node:crypto'
import type { RefusedReason, Session } from 'holdfast'
import type { z } from 'zod'
import { inTime } from '../engines/in-time.ts'
import { may } from '../permissions.ts'
import { Problem } from '../problems.ts'
import { introspectionShape, nothing, tokenForm } from '../schemas.ts'
import type { App, Service } from '../server.ts'
import { countRefusal } from './refusals.ts'
import { withoutBody, type AnyData } from './shown.ts'

export function oauthRoutes(app: App, { sessions, store, signed, limits }: Service): void {
  const refresh = signed.refresh!

  /** The session of a refresh token, spent or not, which stays as it is; or why there is none. */
  async function byRefreshToken(token: string): Promise<Session<AnyData> | RefusedReason> {
    const record = await inTime(store.get(refresh.read(token)!))
    if (record === null) return 'unknown'
    const { credential } = record
    const isOfIt =
      signed.keeps(credential) &&
      (await refresh.rotate(token, credential, Date.now(), randomBytes)).outcome !== 'mismatch'
    return isOfIt ? ((await sessions.get(record.id)) ?? 'unknown') : 'mismatch'
  }

  async function byToken(token: string): Promise<Session<AnyData> | RefusedReason> {
    if (refresh.read(token) !== null) return byRefreshToken(token)
    const session = await sessions.open(token)
    return session.refused ?? session
  }

  app.post(
    '/oauth/introspect',
    {
      config: { permission: 'verify', form: true },
      schema: {
        operationId: 'introspect',
        summary: 'RFC 7662: whether a token is active',
        tags: ['oauth'],
        consumes: [formType],
        body: tokenForm,
        response: { 200: introspectionShape },
      },
    },
    async (request) => {
      const session = await sessions.open(request.body.token)
      if (session.refused === null) return described(session)
      await countRefusal(limits, session.refused, request)
      return { active: false as const }
    },
  )

  app.post(
    '/oauth/revoke',
    {
      config: { permission: 'end', form: true },
      schema: {
        operationId: 'revoke',
        summary: 'RFC 7009: end the session of a token',
        tags: ['oauth'],
        consumes: [formType],
        body: tokenForm,
        response: { 200: nothing },
      },
    },
    async (request, reply) => {
      const session = await byToken(request.body.token)
      if (typeof session === 'string') {
        await countRefusal(limits, session, request)
      } else {
        const client = request.client!
        if (session.client !== client.id && !may(client, 'admin')) {
          throw new Problem(400, 'unauthorized_client', 'another client started the session of this token')
        }
        await session.end()
      }
      // The same for a token that was never issued: its holder wanted it not to work, and it does not.
      return withoutBody(reply.code(200))
    },
  )
}

export const formType = 'application/x-www-form-urlencoded'

function described(session: Session<AnyData>): z.output<typeof introspectionShape> {
  const { userId, client, authenticatedAt, acr, amr } = session
  return {
    active: true,
    sub: userId ?? undefined,
    client_id: client ?? undefined,
    sid: session.id!,
    iat: authenticatedAt === null ? undefined : Math.floor(authenticatedAt / 1000),
    exp: Math.floor(session.expiresAt! / 1000),
    acr: acr ?? undefined,
    amr: amr.length > 0 ? [...amr] : undefined,
    roles: [...session.roles],
  }
}
