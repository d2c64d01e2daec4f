// What clients assert to each other of a user's session: made for one audience, and checked by that one.
import { randomBytes } from 'node:crypto'
import type { RefusedReason, Session, Via } from 'holdfast'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import type { z } from 'zod'
import { inTime } from '../engines/in-time.ts'
import { missing } from '../http/auth.ts'
import { may, type Client } from '../permissions.ts'
import { noSession, Problem } from '../problems.ts'
import { assertBody, assertedShape, noQuery } from '../schemas.ts'
import type { App, Service } from '../server.ts'
import { countRefusal } from './refusals.ts'
import type { AnyData } from './shown.ts'

/** A session, and how it came to the client that presents it. */
export interface Asserted {
  readonly session: Session<AnyData>
  readonly via: Via
}

export function assertionRoutes(app: App, service: Service): void {
  const { sessions, store, limits } = service

  /** Who has what opens a session may act for it. An id shows nothing, so only who could begin such a session may name it. */
  async function subject(
    { token, assertion, sessionId }: z.output<typeof assertBody>,
    client: Client,
  ): Promise<{ id: string; via?: Via } | RefusedReason> {
    if (assertion !== undefined) {
      const asserted = await openAssertion(service, client, assertion)
      return typeof asserted === 'string' ? asserted : { id: asserted.session.id!, via: asserted.via }
    }
    if (token !== undefined) {
      const { refused, id } = await sessions.open(token)
      return refused ?? { id: id! }
    }
    if (!may(client, 'start')) throw missing('start', ', which to act for a session by its id wants')
    if ((await sessions.get(sessionId!)) === null) throw noSession()
    return { id: sessionId! }
  }

  app.post(
    '/v1/assertions',
    {
      config: { permission: 'assert', section: 'some' },
      schema: {
        operationId: 'assertSession',
        summary: 'A token with which the caller acts on a user’s behalf at another service',
        tags: ['sessions'],
        querystring: noQuery,
        body: assertBody,
        response: { 201: assertedShape },
      },
    },
    async (request, reply) => {
      const client = request.client!
      const { audience, scope = ['*'] } = request.body
      if (!may(client, 'assert', audience)) throw missing('assert', ` (or assert:${audience})`)
      const found = await subject(request.body, client)
      if (typeof found === 'string') {
        await countRefusal(limits, found, request)
        throw new Problem(401, 'credential-refused', `what was presented opens no session: ${found}`)
      }
      const record = await inTime(store.get(found.id))
      if (record === null) throw noSession()
      const known = { ...record, via: found.via }
      const made = await assertionsOf(service, client).assert(known, audience, scope, Date.now(), randomBytes)
      return reply.code(201).send({ assertion: made.token, expiresIn: Math.floor(made.expiresInMs / 1000) })
    },
  )
}

/** What an assertion opens that was made for `client`, or why nothing. Its session is not extended by it. */
export async function openAssertion(
  service: Service,
  client: Client,
  assertion: string,
): Promise<Asserted | RefusedReason> {
  const presented = await assertionsOf(service, client).present(assertion, Date.now())
  if (presented === null) return 'malformed'
  if (presented.kind !== 'proof') return presented.kind === 'refused' ? presented.reason : 'malformed'
  const { id, epoch, via } = presented.known
  const session = await service.sessions.get(id)
  if (session === null) return 'ended'
  return session.epoch! > epoch ? 'stale' : { session, via: via! }
}

/** Clients are called by their ids. */
function assertionsOf({ issuer, keys }: Service, { id }: Client) {
  return assertionCredentials({ issuer, service: id, keys })
}
