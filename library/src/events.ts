// What can be observed of sessions. Types only. No event holds a secret; ids are safe to log.

/** Why an end came. */
export type EndReason = 'signed-out' | 'ended' | 'replaced' | 'limit'

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

/** Why a credential that was presented opened no session. */
export type RefusedReason = 'malformed' | 'duplicate' | 'unknown' | 'mismatch' | 'expired'
