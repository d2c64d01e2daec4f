// What the driver and the verifying processes say to each other.
import type { Bug } from './bugs.ts'

/** How a verifying process is set up; the one argument of `node.ts`, as JSON. */
export interface NodeConfig {
  readonly name: string
  readonly seed: number
  readonly historyFolder: string
  readonly reach: Reach
  readonly bug: Bug | null
  readonly issuer: string
  /** Of the keyring that all share with the services. */
  readonly secret: string
}

/** By what it comes to the sessions. */
export type Reach =
  | { readonly kind: 'redis'; readonly port: number }
  | {
      readonly kind: 'sentinel'
      readonly name: string
      readonly sentinels: readonly { readonly host: string; readonly port: number }[]
      /** Real port of a server → that of the link through which this process reaches it. */
      readonly links: Readonly<Record<number, number>>
    }
  | { readonly kind: 'service'; readonly url: string; readonly clientId: string; readonly clientSecret: string }

/** A token to be tried again and again. */
export interface KnownToken {
  readonly id: string
  readonly token: string
  readonly issuedAt: number
}

export type Act =
  | {
      readonly do: 'start'
      readonly userId: string
      readonly roles: readonly string[]
      readonly credential: 'opaque' | 'signed'
    }
  | { readonly do: 'end'; readonly id: string }
  | { readonly do: 'endUser'; readonly userId: string }
  | {
      readonly do: 'signIn'
      readonly token: string
      readonly userId: string
      readonly roles: readonly string[]
    }
  | { readonly do: 'setRoles'; readonly userId: string; readonly roles: readonly string[] }
  | { readonly do: 'refresh'; readonly refreshToken: string }

export type ToNode =
  | { readonly type: 'know'; readonly tokens: readonly KnownToken[] }
  | { readonly type: 'forget'; readonly tokens: readonly string[] }
  /** The wall clock is wrong by so many ms from now on. */
  | { readonly type: 'clock'; readonly offsetMs: number }
  /** Whether the feed delivers twice and out of order. */
  | { readonly type: 'disturb'; readonly on: boolean }
  | { readonly type: 'act'; readonly seq: number; readonly act: Act }

export interface Done {
  readonly began: number
  readonly ended: number
  readonly result: Result
}

export type Result =
  | { readonly is: 'done' }
  | { readonly is: 'given'; readonly id: string; readonly token: string; readonly refreshToken: string | null }
  | { readonly is: 'refused'; readonly reason: string }
  | { readonly is: 'failed'; readonly why: string }

export type FromNode = { readonly type: 'ready' } | ({ readonly type: 'did'; readonly seq: number } & Done)
