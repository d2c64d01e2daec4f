// Sessions as answers show them.
import type { Session } from 'holdfast'
import type { z } from 'zod'
import type { sessionShape } from '../schemas.ts'

/** Data of any shape: schemas belong to the services that use it. */
export type AnyData = Record<string, unknown>

/** A live session. Its token is not part of it, and its data is asked for on its own. */
export function shown(session: Session<AnyData>): z.output<typeof sessionShape> {
  return {
    id: session.id!,
    userId: session.userId,
    roles: session.roles as string[],
    claims: session.claims,
    amr: session.amr as string[],
    acr: session.acr,
    device: session.device!,
    client: session.client,
    authenticatedAt: session.authenticatedAt,
    createdAt: session.createdAt!,
    seenAt: session.seenAt!,
    expiresAt: session.expiresAt!,
    endsAt: session.endsAt!,
    remembered: session.remembered,
    epoch: session.epoch!,
  }
}

/** An answer that is only a status. `null` is how the schemas say that there is no body. */
export function withoutBody<Reply extends { send(body: null): Reply }>(reply: Reply): Reply {
  return (reply as unknown as { send(): Reply }).send()
}
