// What a handler holds: who it is, what it may do, what it holds.
import type { Tokens, Via } from './credentials/credentials.ts'
import type { Device } from './device.ts'
import type { RefusedReason } from './events.ts'
import type { Duration } from './internal/duration.ts'

/**
 * One session as seen by one request. Identity is that of the moment it was opened, or of its last change through this
 * object. An anonymous one has `id`, `userId` null; its first `update` begins a guest's session.
 */
export interface Session<Data> {
  /** Safe to log. `null`: there is no session yet, or it was ended here. */
  readonly id: string | null
  /** `null` for guests and anonymous requests. */
  readonly userId: string | null
  /** Why a credential that came along was not accepted; `null` when none came, or all is well. */
  readonly refused: RefusedReason | null
  /** Role names given at sign-in. */
  readonly roles: readonly string[]
  /** Claims given at sign-in. */
  readonly claims: Readonly<Record<string, unknown>>
  /** How the user authenticated (RFC 8176). */
  readonly amr: readonly string[]
  /** Assurance reached; `null` when not stated. */
  readonly acr: string | null
  /** From where it was started; `null` without a session, and where a signed token is all that is known of it. */
  readonly device: Device | null
  /** The client of the session service that started it. */
  readonly client: string | null
  /** Last sign-in, re-authentication or step-up, in ms since the epoch; `null` for guests. */
  readonly authenticatedAt: number | null
  /**
   * The earlier of the idle and the absolute end, in ms since the epoch, or that of the signed token that is all that is known of it;
   * `null` without a session, as with the four below.
   */
  readonly expiresAt: number | null
  /** The absolute end, in ms since the epoch. */
  readonly endsAt: number | null
  readonly createdAt: number | null
  /** The last use that was written, which may lag by a tenth of the idle time. */
  readonly seenAt: number | null
  /** +1 with each change of identity: signed tokens with an older one are stale. */
  readonly epoch: number | null
  /** Whether the longer limits of `remember` hold. */
  readonly remembered: boolean
  /** The services that it came through, and what is left of its permissions; `null` where its client is the user's own. */
  readonly via: Via | null

  /** Whether the roles grant `permission`, and the scope of `via` has it. Always false without a user. */
  can(permission: string): boolean
  /** Throws `AccessError` (401 or 403) unless all of it holds. */
  require(what: string | Requirement): void
  /** Whether the user authenticated no longer ago than that. */
  authenticatedWithin(duration: Duration): boolean

  /** The section as its schema gives it. `DataError` when what is stored does not fit; it is left as it is. */
  read<K extends keyof Data & string>(section: K): Promise<Data[K]>
  /**
   * Writes what `fn` makes of the section, and resolves with it when that is stored. When somebody else wrote first, `fn` is
   * called again with the newer value, so it must have no other effect. `undefined` removes the section.
   *
   * `SessionGoneError` when the session ended meanwhile, `DataError` when the result does not fit or is too large,
   * `ConflictError` after 100 conflicts, `CredentialError` when a guest's new cookie can't be sent any more.
   */
  update<K extends keyof Data & string>(
    section: K,
    fn: (value: Data[K]) => Data[K] | Promise<Data[K]>,
  ): Promise<Data[K]>
  /**
   * Signs `userId` in, again, or with more assurance: a new id and credential, both limits begin anew, and the old credential
   * is dead when this resolves. For the same user, roles and claims not given are kept; assurance never is.
   *
   * `LimitError` when the limit refuses, `CredentialError` when the response has begun. In both cases nothing changed.
   */
  signIn(userId: string, o?: SignInOptions<Data>): Promise<Tokens>
  /**
   * New tokens, for the refresh token that the request carries in a cookie; the session is then that one's. `null` when it carries none, or
   * one that is not accepted: `refused` says why. See `sessions.refresh`.
   */
  refresh(): Promise<Tokens | null>
  /** Ends the session everywhere. What this object does afterwards begins anew only through `signIn`. */
  end(): Promise<void>
}

/** What a user may be asked for. */
export interface Requirement {
  readonly permission?: string | undefined
  /** Authenticated no longer ago than that. */
  readonly within?: Duration | undefined
  /** One of these assurance levels. */
  readonly acr?: readonly string[] | undefined
  /** A method that was used, such as `otp`. */
  readonly amr?: string | undefined
}

/** What is known of a user who just authenticated. */
export interface SignInOptions<Data> {
  readonly roles?: readonly string[] | undefined
  readonly claims?: Readonly<Record<string, unknown>> | undefined
  readonly amr?: readonly string[] | undefined
  readonly acr?: string | undefined
  /** The longer limits of `lifetime.remember`, and a cookie that outlives the browser. Default false. */
  readonly remember?: boolean | undefined
  /** The client of the session service on whose behalf it is. Default: that of the session before. */
  readonly client?: string | undefined
  /** Sections to take along. Default: all of a guest's or of the same user's, none of another user's. */
  readonly carry?: readonly (keyof Data & string)[] | undefined
}
