// Public names of `holdfast`.
import { assertionCredentials } from './credentials/assertion.ts'
import { remoteKeys } from './credentials/jwks.ts'
import { opaqueCredentials } from './credentials/opaque.ts'
import { signedCredentials } from './credentials/signed.ts'
import type { DataOf, Schemas, StandardSchema } from './data.ts'
import type { SessionsOptions } from './options.ts'
import type { ConnectOptions } from './remote/options.ts'
import { remoteSessions } from './remote/remote-sessions.ts'
import type { Sessions } from './sessions.ts'
import { storedSessions } from './stored-sessions.ts'
import { cookieTransport } from './transport/cookie.ts'
import { verifier } from './verify/verifier.ts'

/**
 * Sessions on a store, by cookie unless told otherwise, with opaque credentials. Make one at start-up and keep it.
 * Throws `ConfigError`, naming the option, when it can't work with one.
 */
export function createSessions<const S extends Schemas = Readonly<Record<string, StandardSchema>>>(
  o: SessionsOptions<S>,
): Sessions<DataOf<S>> {
  const { transport = cookieTransport(), credentials = opaqueCredentials() } = o
  return storedSessions({ ...o, transport, credentials, verifier })
}

/**
 * Sessions through the session service: the same for the application as those of `createSessions`. Make one at start-up and keep it.
 * Throws `ConfigError`, naming the option, when it can't work with one. The service need not be there yet.
 *
 * Calls reject with `StoreUnavailableError` when the service can't answer in time, and with `ServiceError` when it refuses this
 * client: a wrong secret or a missing permission is never taken for a user who is not signed in.
 */
export function connectSessions<const S extends Schemas = Readonly<Record<string, StandardSchema>>>(
  o: ConnectOptions<S>,
): Sessions<DataOf<S>> {
  const { transport = cookieTransport() } = o
  return remoteSessions({
    ...o,
    transport,
    verifier,
    opaque: opaqueCredentials(),
    signed({ issuer, audience, service, jwksUrl: url, fetch }) {
      const keys = remoteKeys({ url, fetch, allowHttp: o.allowHttp })
      return [signedCredentials({ issuer, audience, keys }), assertionCredentials({ issuer, service, keys })]
    },
  })
}

export type {
  Asserting,
  Credentials,
  Issued,
  KnownSession,
  Presented,
  Refresh,
  Rotation,
  Tokens,
  Via,
} from './credentials/credentials.ts'
export { opaqueCredentials } from './credentials/opaque.ts'
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
  ServiceError,
  SessionError,
  SessionGoneError,
  StoreUnavailableError,
  type CredentialReason,
  type DataIssue,
  type ErrorCode,
  type ServiceProblem,
} from './errors.ts'
export type { EndReason, RefusedReason, SessionEvent } from './events.ts'
export type { Cursor, Feed, FeedStep, FollowOptions, Notice } from './feed.ts'
export type { Duration } from './internal/duration.ts'
export type { Limit } from './lifecycle.ts'
export type { Lifetime, Limits } from './policy.ts'
export type { Roles } from './roles.ts'
export type { Requirement, Session, SignInOptions } from './session.ts'
export type { CacheOptions, SessionsOptions } from './options.ts'
export type { ConnectOptions } from './remote/options.ts'
export type { EndOptions, SessionInfo, SessionOf, Sessions, StartOptions } from './sessions.ts'
export type { ReadOptions, ScannableStore, SessionRecord, Store, StoreOptions, SweepableStore } from './store.ts'
export { bearerTransport } from './transport/bearer.ts'
export { cookieTransport, type CookieOptions } from './transport/cookie.ts'
export { headerTransport } from './transport/header.ts'
export type { Exchange, HeaderOf, Transport } from './transport/transport.ts'
export type { WhenStale, WhenStoreIsDown } from './verification.ts'
export type { FeedStatus } from './verify/verify.ts'
