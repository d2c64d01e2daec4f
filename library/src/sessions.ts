// All the sessions of a system: the interface, whether they are on a store or behind the session service.
import type { Credentials, Tokens } from './credentials/credentials.ts'
import type { Device } from './device.ts'
import type { Session, SignInOptions } from './session.ts'
import type { Exchange } from './transport/transport.ts'
import type { FeedStatus } from './verify/verify.ts'

/** All the sessions of a system. Every call rejects with `StoreUnavailableError` when the store can't answer in time. */
export interface Sessions<Data> {
  /**
   * The session of a request, or of a credential that came by another way. Never creates one and never waits for a write; a
   * credential that is not accepted gives an anonymous session that says why in `refused`.
   *
   * `CrossSiteError` when the request would change something and comes from another site.
   */
  open(from: Exchange | string): Promise<Session<Data>>
  /** Begins a session without a request, `null` for a guest. The tokens are the client's, and secret. */
  start(userId: string | null, o?: StartOptions<Data>): Promise<{ session: Session<Data> } & Tokens>
  /**
   * New tokens for a refresh token, which is good once: by a request whose transport carries it, or as it is. In the refresh window
   * the immediate predecessor gives the same successor again; an older one ends the session. One that is not accepted gives an
   * anonymous session that says why in `refused`, and no tokens.
   *
   * `CrossSiteError` when the request comes from another site, `CredentialError` when the response has begun.
   */
  refresh(from: Exchange | string): Promise<{ session: Session<Data>; tokens: Tokens | null }>
  /**
   * A token with which this service calls another one on the user's behalf: `audience` is that one's name, and only it accepts the token. Good
   * for a minute unless `assertionCredentials` says otherwise, never longer than the session or the token it came by. What the user's roles
   * allow may be used there for `scope` at most (default: all), and never for more than was asserted to this service. When the session ends,
   * so does whatever came of it, within `maxStaleness`. Asks the store, or the session service: one may serve for all calls of a request.
   *
   * `AccessError` (401) when there is no session, (403) when the chain is longer than 8 services; `SessionGoneError` when it has ended, or what
   * it came by expired; `ConfigError` without `assertionCredentials` among `credentials`.
   */
  assertionFor(session: Session<Data>, audience: string, o?: { scope?: readonly string[] | undefined }): Promise<string>
  /** A live session by its id, for those who administer it; `null` when there is none. */
  get(id: string): Promise<Session<Data> | null>
  /** A user's live sessions, newest first. `current` marks the one with this id. */
  list(userId: string, o?: { current?: string | null }): Promise<readonly SessionInfo[]>
  /**
   * Ends one session, whoever's; whether it was alive. Once this resolves no process that asks the store accepts it, nor within
   * `maxStaleness` one that follows the feed. Rejects when that is not sure; calling again is safe.
   */
  end(id: string, o?: EndOptions): Promise<boolean>
  /** Ends every session of a user that was there when this was called, but for `except`; how many were alive. */
  endUser(userId: string, o?: EndOptions & { except?: string | null }): Promise<number>
  /** Changes the roles in every live session of a user, from their next request on; how many that were. */
  setRoles(userId: string, roles: readonly string[]): Promise<number>
  /**
   * Calls `onOver` once when what `session` says no longer holds, so that what is open for it, such as a socket, can be closed: it `ended` or
   * expired, or its identity `changed`, such as its roles. By the feed it comes at once. Where that can't tell, the store is asked as
   * soon as what is known is half of `maxStaleness` old, once for all who watch a session: so it comes within `maxStaleness` if the store answers
   * within 0.4 of that, and else as much later. While the store can't answer nothing is over but at its absolute limit. Answers how to stop
   * watching.
   */
  watch(session: Session<Data>, onOver: (why: 'ended' | 'changed') => void): () => void
  /** How this process stands with the feed; `null` without one. */
  status(): FeedStatus | null
  /** Stops following the feed and watching. What the store and the feed work with stays open: it is yours. */
  close(): void
}

/** How far an ending must have come when the call resolves. */
export interface EndOptions {
  /** Wait until no process anywhere that follows the feed can still accept it, which takes `maxStaleness`. Default false. */
  readonly settled?: boolean | undefined
}

/** The session type of a `Sessions`, to type `req.session` with. */
export type SessionOf<S> = S extends Sessions<infer Data> ? Session<Data> : never

/** What a session may begin with when there is no request to tell. */
export interface StartOptions<Data> extends Omit<SignInOptions<Data>, 'carry'> {
  readonly userAgent?: string | undefined
  readonly address?: string | undefined
  readonly data?: Partial<Data> | undefined
  /** The kind of credential, of those in `credentials`. Default: the first. */
  readonly credential?: Credentials['kind'] | undefined
}

/** One line in a user's list of devices. */
export interface SessionInfo {
  readonly id: string
  readonly current: boolean
  readonly device: Device
  readonly amr: readonly string[]
  /** Instants in ms since the epoch. `seenAt` may lag by a tenth of the idle time. */
  readonly createdAt: number
  readonly seenAt: number
  readonly expiresAt: number
}
