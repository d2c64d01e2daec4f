// A session as the service shows it, as one that is known here.
import type { KnownSession } from '../credentials/credentials.ts'
import type { Device } from '../device.ts'
import { encodeIdentity, nobody } from '../identity.ts'
import { noService, type Answer } from './refusal.ts'

/** What the service says that a store's record does not hold: the limits are its business. */
export interface RemoteSession extends KnownSession {
  readonly endsAt: number
}

interface Shown {
  readonly id: string
  readonly userId: string | null
  readonly roles: readonly string[]
  readonly claims: Readonly<Record<string, unknown>>
  readonly amr: readonly string[]
  readonly acr: string | null
  readonly device: Device | null
  readonly client: string | null
  readonly createdAt: number
  readonly seenAt: number
  readonly expiresAt: number
  readonly endsAt: number
  readonly remembered: boolean
  readonly epoch: number
}

/** `ServiceError` when the answer is none of a session service. */
export function knownSession(shown: unknown, { status }: Answer): RemoteSession {
  const { id, epoch, expiresAt } = (shown ?? {}) as Partial<Shown>
  if (typeof id !== 'string' || typeof epoch !== 'number' || typeof expiresAt !== 'number') {
    throw noService(status)
  }
  const { userId, roles, claims, amr, acr, device, client, createdAt, seenAt, endsAt, remembered } = shown as Shown
  const identity = { ...nobody, roles, claims, amr, acr, device: device ?? nobody.device, remembered, client }
  return {
    id,
    userId,
    credential: '',
    identity: encodeIdentity(identity),
    data: null,
    createdAt,
    seenAt,
    expiresAt,
    endsAt,
    epoch,
    // Of two answers that overtake each other the one with the newer identity counts.
    version: epoch,
  }
}

/** The absolute end. A signed token knows of no later end than its own. */
export function endsAt(known: KnownSession): number {
  return 'endsAt' in known ? (known as RemoteSession).endsAt : known.expiresAt
}
