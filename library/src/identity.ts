// Identity ⇄ the identity string of a record. Keys are one letter and defaults left out: it is stored once per session.
import { describe, type Device } from './device.ts'
import { DataError } from './errors.ts'
import type { SessionRecord } from './store.ts'

export interface Identity {
  readonly roles: readonly string[]
  /** What the application wants to know at each request without reading data. */
  readonly claims: Readonly<Record<string, unknown>>
  /** How the user authenticated (RFC 8176). */
  readonly amr: readonly string[]
  /** Assurance reached; `null` when not stated. */
  readonly acr: string | null
  readonly device: Device
  /** Whether the longer limits of `remember` hold. */
  readonly remembered: boolean
  /** The client of the session service that started the session. */
  readonly client: string | null
  /** The id of the same user's session in whose place it began. */
  readonly replaces: string | null
}

export const nobody: Identity = {
  roles: [],
  claims: {},
  amr: [],
  acr: null,
  device: describe(null, null, null),
  remembered: false,
  client: null,
  replaces: null,
}

/** Identity is read at each request; what is larger belongs into data. */
const maxLength = 8_192

/** `DataError` when it is too large. */
export function encodeIdentity(identity: Identity): string {
  const { roles, claims, amr, acr, device, remembered, client, replaces } = identity
  const { browser, system, address } = device
  const encoded = JSON.stringify({
    r: roles.length > 0 ? roles : undefined,
    c: Object.keys(claims).length > 0 ? claims : undefined,
    m: amr.length > 0 ? amr : undefined,
    a: acr ?? undefined,
    d: browser !== null || system !== null || address !== null ? [browser, system, address] : undefined,
    l: remembered ? 1 : undefined,
    k: client ?? undefined,
    p: replaces ?? undefined,
  })
  if (encoded.length > maxLength) {
    throw new DataError(
      'data-too-large',
      'claims',
      `roles and claims take more than ${maxLength} characters; keep them in data`,
    )
  }
  return encoded
}

export function decodeIdentity(identity: string): Identity {
  const stored = JSON.parse(identity) as Stored
  return {
    roles: stored.r ?? [],
    claims: stored.c ?? {},
    amr: stored.m ?? [],
    acr: stored.a ?? null,
    device: describe(...(stored.d ?? [null, null, null])),
    remembered: stored.l === 1,
    client: stored.k ?? null,
    replaces: stored.p ?? null,
  }
}

/** So that no request changes what others see. */
export function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const part of Object.values(value)) frozen(part)
  }
  return value
}

/** Whether the longer limits of `remember` hold for this record. */
export function remembered({ identity }: Pick<SessionRecord, 'identity'>): boolean {
  return decodeIdentity(identity).remembered
}

interface Stored {
  r?: string[]
  c?: Record<string, unknown>
  m?: string[]
  a?: string
  d?: [browser: string | null, system: string | null, address: string | null]
  l?: 1
  k?: string
  p?: string
}

/** Stores keep UTF-8, in which a lone surrogate has no form; and an id is a name, not a text. */
export function checkUserId(userId: string): void {
  if (
    typeof userId !== 'string' ||
    userId.length < 1 ||
    userId.length > 256 ||
    !userId.isWellFormed() ||
    /\p{Cc}/u.test(userId)
  ) {
    throw new TypeError('userId: expected 1 to 256 characters, none of them a control character or a lone surrogate')
  }
}
