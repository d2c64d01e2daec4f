// Public names of `holdfast`.
import { opaqueCredentials } from './credentials/opaque.ts'
import type { DataOf, Schemas, StandardSchema } from './data.ts'
import { storedSessions, type Sessions, type SessionsOptions } from './sessions.ts'
import { cookieTransport } from './transport/cookie.ts'

/**
 * Sessions on a store, by cookie unless told otherwise, with opaque credentials. Make one at start-up and keep it.
 * Throws `ConfigError`, naming the option, when it can't work with one.
 */
export function createSessions<const S extends Schemas = Readonly<Record<string, StandardSchema>>>(
  o: SessionsOptions<S>,
): Sessions<DataOf<S>> {
  return storedSessions({ ...o, transport: o.transport ?? cookieTransport(), credentials: opaqueCredentials() })
}

export type { DataOf, Schemas, StandardSchema } from './data.ts'
export type { Device } from './device.ts'
export {
  AccessError,
  ConfigError,
  ConflictError,
  CredentialError,
  CrossSiteError,
  DataError,
  LimitError,
  SessionError,
  SessionGoneError,
  StoreUnavailableError,
  type CredentialReason,
  type DataIssue,
  type ErrorCode,
} from './errors.ts'
export type { EndReason, RefusedReason, SessionEvent } from './events.ts'
export type { Duration } from './internal/duration.ts'
export type { Limit } from './lifecycle.ts'
export type { Lifetime, Limits } from './policy.ts'
export type { Roles } from './roles.ts'
export type { Requirement, Session, SignInOptions } from './session.ts'
export type { SessionInfo, SessionOf, Sessions, SessionsOptions, StartOptions } from './sessions.ts'
export type { ScannableStore, SessionRecord, Store, StoreOptions, SweepableStore } from './store.ts'
export { bearerTransport } from './transport/bearer.ts'
export { cookieTransport, type CookieOptions } from './transport/cookie.ts'
export type { Exchange, Transport } from './transport/transport.ts'
