// All that hands out tokens: starting a session, signing in in place of one, refreshing.
import type { Session, StartOptions, Tokens } from 'holdfast'
import type { z } from 'zod'
import { missing } from '../http/auth.ts'
import { may, type Client } from '../permissions.ts'
import { invalid, noSession, Problem } from '../problems.ts'
import { noQuery, refreshBody, refreshedShape, startBody, startedShape } from '../schemas.ts'
import type { App, Service } from '../server.ts'
import { countRefusal } from './refusals.ts'
import { shown, type AnyData } from './shown.ts'

/** Sections that a session may begin with. */
const maxSections = 100

export function signInRoutes(app: App, { sessions, limits, signed }: Service): void {
  app.post(
    '/v1/sessions',
    {
      config: { permission: 'start' },
      schema: {
        operationId: 'startSession',
        summary: 'Start a session, for a user who just authenticated or a guest; with replaces, in place of another',
        tags: ['sessions'],
        querystring: noQuery,
        body: startBody,
        response: { 201: startedShape },
      },
    },
    async (request, reply) => {
      const client = request.client!
      const { userId, replaces, ...body } = request.body
      checkSections(body.data ?? {}, client)
      if (replaces === undefined) {
        const { session, ...tokens } = await sessions.start(userId, startOptions(body, client))
        return reply.code(201).send(started(session, tokens))
      }
      if (!may(client, 'end')) throw missing('end', ', which to take the place of a session wants')
      const session = await sessions.get(replaces)
      if (session === null) throw noSession()
      const { roles, claims, amr, acr, remember, carry } = body
      const tokens = await session.signIn(userId!, { roles, claims, amr, acr, remember, carry, client: client.id })
      return reply.code(201).send(started(session, tokens))
    },
  )

  app.post(
    '/v1/sessions/refresh',
    {
      config: { permission: 'start' },
      schema: {
        operationId: 'refreshSession',
        summary: 'New tokens for a refresh token, which is good once',
        tags: ['sessions'],
        querystring: noQuery,
        body: refreshBody,
        response: { 200: refreshedShape },
      },
    },
    async (request) => {
      const { refreshToken } = request.body
      await checkOwner(refreshToken, request.client!)
      const { session, tokens } = await sessions.refresh(refreshToken)
      if (tokens !== null) return refreshed(session, tokens)
      const reason = session.refused!
      await countRefusal(limits, reason, request)
      throw refused(reason)
    },
  )

  /** RFC 6749, section 6: a refresh token is for the client it was issued to. */
  async function checkOwner(refreshToken: string, client: Client): Promise<void> {
    const id = signed.refresh!.read(refreshToken)
    const owner = id === null ? null : ((await sessions.get(id))?.client ?? null)
    if (owner !== null && owner !== client.id && !may(client, 'admin')) throw refused('mismatch')
  }
}

function refused(reason: string): Problem {
  return new Problem(401, reason, `the refresh token was not accepted: ${reason}`)
}

function checkSections(data: Readonly<Record<string, unknown>>, client: Client): void {
  const sections = Object.keys(data)
  if (sections.length > maxSections)
    throw invalid([{ path: 'body.data', message: `at most ${maxSections} sections, got ${sections.length}` }])
  for (const section of sections) {
    if (!may(client, 'write', section)) throw missing('write', ` (or write:${section}), which data to begin with wants`)
  }
}

function startOptions(o: Omit<z.output<typeof startBody>, 'userId'>, client: Client): StartOptions<AnyData> {
  const { roles, claims, amr, acr, remember, credential = 'opaque', device, data } = o
  return {
    roles,
    claims,
    amr,
    acr,
    remember,
    credential,
    data,
    userAgent: device?.userAgent,
    address: device?.address,
    client: client.id,
  }
}

function started(session: Session<AnyData>, tokens: Tokens): z.output<typeof startedShape> {
  return tokens.refreshToken === null ? { session: shown(session), token: tokens.token } : refreshed(session, tokens)
}

function refreshed(session: Session<AnyData>, tokens: Tokens): z.output<typeof refreshedShape> {
  const { token, refreshToken, expiresInMs } = tokens
  // Never a second more than there is.
  const expiresIn = Math.floor(expiresInMs! / 1000)
  return { session: shown(session), accessToken: token, refreshToken: refreshToken!, expiresIn }
}
