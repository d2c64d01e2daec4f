// What can be observed of sessions. Types only. No event holds a secret; ids are safe to log.

/** Why an end came. */
export type EndReason = 'signed-out' | 'ended' | 'replaced' | 'limit' | 'refresh-reused'

/** Something that happened, handed to `onEvent`. */
export type SessionEvent =
  | { readonly type: 'started'; readonly id: string; readonly userId: string | null }
  | { readonly type: 'signed-in'; readonly id: string; readonly userId: string; readonly replaced: string | null }
  | {
      readonly type: 'ended'
      readonly ids: readonly string[]
      /** `null` for guests, and for what was ended by its id alone. */
      readonly userId: string | null
      readonly reason: EndReason
    }
  | { readonly type: 'refused'; readonly id: string | null; readonly reason: RefusedReason }
  | { readonly type: 'denied'; readonly id: string | null; readonly userId: string | null; readonly missing: string }
  | { readonly type: 'roles-changed'; readonly id: string; readonly userId: string; readonly roles: readonly string[] }
  | { readonly type: 'limit-reached'; readonly userId: string }
  | { readonly type: 'touch-failed'; readonly id: string; readonly cause: unknown }
  | { readonly type: 'sweep-failed'; readonly cause: unknown }
  | { readonly type: 'store-down'; readonly cause: unknown }
  | { readonly type: 'store-up' }
  /** A refresh: `repeated` gave the same successor again, `reused` ended the session because a spent token came back. */
  | {
      readonly type: 'refreshed'
      readonly id: string
      readonly userId: string | null
      readonly outcome: 'rotated' | 'repeated' | 'reused'
    }
  /** Accepted although endings since some time ago may be unknown here, as `trust-signed` allows. */
  | { readonly type: 'trusted-stale'; readonly id: string }
  /** The feed can't be read (with the cause), and can again. Until then the store is asked, or requests are refused. */
  | { readonly type: 'feed-down'; readonly cause: unknown }
  | { readonly type: 'feed-up' }
  /** Notices may have been missed: what was cached is forgotten, and this process publishes its latest endings again. */
  | { readonly type: 'feed-gap'; readonly republished: number }

/**
 * Why a credential that was presented opened no session. `ended` and `stale` (older roles than now) are known without asking
 * the store; `signature`, `unknown-key`, `issuer`, `audience`, `token-type` and `not-yet-valid` speak of signed tokens,
 * `refresh-reused` of a refresh token that was spent.
 */
export type RefusedReason =
  | 'malformed'
  | 'duplicate'
  | 'unknown'
  | 'mismatch'
  | 'expired'
  | 'ended'
  | 'stale'
  | 'signature'
  | 'unknown-key'
  | 'issuer'
  | 'audience'
  | 'token-type'
  | 'not-yet-valid'
  | 'refresh-reused'
