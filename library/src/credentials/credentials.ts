// What a kind of credential is: what the client holds, what the store keeps of it, and what it proves by itself.
import type { RefusedReason } from '../events.ts'
import type { Identity } from '../identity.ts'
import type { SessionRecord } from '../store.ts'

/** A session as it is known without having been read whole: `data` is `null` where it was not read. */
export type KnownSession = Omit<SessionRecord, 'data'> & {
  readonly data: string | null
  /** How it came here, where another service brought it. */
  readonly via?: Via | undefined
  /** Where requests share it: its identity, decoded by the first of them that asked. */
  readonly shared?: { who: Identity | null } | undefined
}

/** The way of a session through other services, as each of them asserted. */
export interface Via {
  /** The same in the whole chain, for logs. */
  readonly transaction: string
  /** Who called whom, beginning with the service that the user's own request came to. */
  readonly callers: readonly string[]
  /** What the user's roles may be used for here at most: permissions, `orders:*` or `*`. */
  readonly scope: readonly string[]
  /** When the assertion that it came by expires, in ms since the epoch. None that is made of it lives longer. */
  readonly expiresAt: number
}

/** Services that a chain may pass. */
export const callersAtMost = 8

/** What a client gets. Secret. */
export interface Tokens {
  /** Opens the session. */
  readonly token: string
  /** Gives new tokens when `token` has run out (`sessions.refresh`); `null` where `token` lives as long as the session. */
  readonly refreshToken: string | null
  /** How long `token` is good, in ms; `null`: as long as the session. */
  readonly expiresInMs: number | null
}

/** A credential just made, or just rotated. */
export interface Issued {
  /** For the store: can't be turned back into what the client holds. */
  readonly kept: string
  /** What the client gets for the session as it is in `record`. */
  tokens(record: SessionRecord): Tokens | Promise<Tokens>
}

/** What a token says of itself. */
export type Presented =
  /** Names a session that only the store knows. `matches` takes the same time wherever they differ. */
  | { readonly kind: 'reference'; readonly id: string; matches(kept: string): boolean | Promise<boolean> }
  /** Says itself whose session it is; everything that can be checked without I/O or a feed has been. */
  | {
      readonly kind: 'proof'
      readonly known: KnownSession
      /** At or after it the proof is none, in ms since the epoch. */
      readonly expiresAt: number
      /** How long a token of this kind may have lived when it expires, in ms. */
      readonly lifetimeMs: number
    }
  | { readonly kind: 'refused'; readonly reason: RefusedReason; readonly id: string | null }

/** What a refresh token brings. */
export type Rotation =
  | ({ readonly outcome: 'rotated' } & Issued)
  /** The immediate predecessor came again inside the window: the same successor, nothing to write. */
  | ({ readonly outcome: 'repeated' } & Issued)
  /** A spent one: somebody has a copy. */
  | { readonly outcome: 'reused' }
  /** Never was one of this session's. */
  | { readonly outcome: 'mismatch' }

/** Refresh tokens of a kind that has them. No I/O: the caller writes `kept` by a conditional put, which makes it single use. */
export interface Refresh {
  /** The session's id in a refresh token of the right form, else `null`. */
  read(refreshToken: string): string | null
  rotate(
    refreshToken: string,
    kept: string,
    now: number,
    random: (bytes: number) => Uint8Array,
  ): Rotation | Promise<Rotation>
}

/** String ⇄ what it stands for. No store, no feed. */
export interface Credentials {
  readonly kind: 'opaque' | 'signed' | 'sealed' | 'assertion'
  issue(random: (bytes: number) => Uint8Array): Promise<Issued & { readonly id: string }>
  /** `null`: a string of another form, which may be another kind's. */
  present(token: string, now: number): Presented | Promise<Presented> | null
  /** Whether a record's `credential` was kept by this kind. */
  keeps(kept: string): boolean
  /** `null` where a token lives as long as its session. */
  readonly refresh: Refresh | null
  /** A token for the session as it is now, where the session itself is in the token; `null` where it is not. */
  readonly reissue: ((record: SessionRecord) => Tokens | Promise<Tokens>) | null
  /** Told by the feed that the set of signing keys changed. Resolves when it was asked for anew, or could not be. */
  keysChanged?(): Promise<void>
}

/** Credentials that a service makes for another one, so that it acts on a user's behalf. */
export interface Asserting extends Credentials {
  readonly kind: 'assertion'
  /**
   * A token that `audience` accepts, and only that, for what both `scope` and `known.via` allow. Secret. `known` was just seen to be alive:
   * who accepts the token counts on it having been when it was made.
   *
   * `AccessError` (403) when the chain is too long, `SessionGoneError` when what it came by has expired, `DataError` when it gets too long.
   */
  assert(
    known: KnownSession,
    audience: string,
    scope: readonly string[],
    now: number,
    random: (bytes: number) => Uint8Array,
  ): Promise<{ readonly token: string; readonly expiresInMs: number }>
}

/** Whether `text` has the form of a session's id. What has not is looked for in no store. */
export function isSessionId(text: unknown): text is string {
  return typeof text === 'string' && idForm.test(text)
}

const idForm = /^[\w-]{22}$/
