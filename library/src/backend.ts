// What a session asks of whatever keeps it: a store, or the session service.
import type { KnownSession, Tokens } from './credentials/credentials.ts'
import type { Device } from './device.ts'
import type { StoreUnavailableError } from './errors.ts'
import type { SignInOptions } from './session.ts'

/** A session that just began. */
export interface Begun {
  readonly known: KnownSession
  readonly tokens: Tokens
  /** It began, but a failure leaves unknown whether the one before it ended everywhere. */
  readonly unsettled: StoreUnavailableError | null
}

/** A sign-in, as the session of the request sees it. */
export interface SigningIn {
  readonly userId: string
  /** The session it takes the place of. */
  readonly old: KnownSession | null
  readonly o: SignInOptions<never>
  readonly device: Device
  /** The header of the request, out of which `device` was told; `null` without one. */
  readonly userAgent: string | null
  /** Throws when nobody can receive the credential any more. Asked last before `old` ends. */
  readonly checkDeliverable: () => void
}

/** What is to be asserted to another service. */
export interface AssertingFor {
  readonly known: KnownSession
  /** The credential that it was opened with; `null` when it was found otherwise, or who keeps the sessions needs no proof. */
  readonly token: string | null
  readonly audience: string
  readonly scope: readonly string[]
}

export interface Backend {
  /** The section, and the session as it was found to be. `SessionGoneError`, `DataError`. */
  read(
    known: KnownSession | null,
    section: string,
  ): Promise<{ readonly known: KnownSession | null; readonly value: unknown }>
  /** What a guest's first change makes; stored by `begin`. */
  guest(
    section: string,
    fn: (value: unknown) => unknown,
  ): Promise<{
    readonly value: unknown
    begin(from: Pick<SigningIn, 'device' | 'userAgent' | 'checkDeliverable'>): Promise<Begun>
  }>
  /** `fn` is called again when somebody else wrote first. `SessionGoneError`, `ConflictError`, `DataError`. */
  update(
    known: KnownSession,
    section: string,
    fn: (value: unknown) => unknown,
  ): Promise<{ readonly known: KnownSession; readonly value: unknown }>
  /** `LimitError`, and `SessionGoneError` when the same user's `old` was ended meanwhile. */
  signIn(signingIn: SigningIn): Promise<Begun>
  end(known: KnownSession): Promise<void>
  /** See `sessions.assertionFor`. */
  assert(asserting: AssertingFor): Promise<string>
  /** Where the session itself is in the client's hands: each change gives it a new token. */
  readonly reissue: ((known: KnownSession) => Tokens | Promise<Tokens>) | null
  /** The absolute end, in ms since the epoch. */
  endsAt(known: KnownSession): number
  /** How long a cookie for it lives; `null`: as long as the browser. */
  maxAgeMs(known: KnownSession): number | null
}
