// What `createSessions` can be told, and what it refuses.
import type { Credentials } from './credentials/credentials.ts'
import type { Schemas } from './data.ts'
import { ConfigError } from './errors.ts'
import type { SessionEvent } from './events.ts'
import type { Feed } from './feed.ts'
import { milliseconds, type Duration } from './internal/duration.ts'
import type { Limit } from './lifecycle.ts'
import type { Lifetime } from './policy.ts'
import type { Roles } from './roles.ts'
import type { Store } from './store.ts'
import type { Transport } from './transport/transport.ts'
import type { WhenStale, WhenStoreIsDown } from './verification.ts'
import type { Verifier } from './verify/verify.ts'

/** Options of `createSessions`. */
export interface SessionsOptions<S extends Schemas> {
  /** Required, but for sealed credentials, which have none. */
  readonly store?: Store | undefined
  /**
   * Brings every ending to every process, and so allows to cache verifications. Default: none; nothing is cached, and the store is
   * asked at each request. All processes that share sessions must publish to the same feed.
   */
  readonly feed?: Feed | undefined
  /** Kinds of credentials that are accepted; new sessions get the first. Default `opaqueCredentials()`. */
  readonly credentials?: Credentials | readonly Credentials[] | undefined
  /**
   * How old the knowledge of endings may be on which a cached answer or a signature is believed; the same in all processes. From the
   * moment an ending is in the feed nobody is let in for longer. Default 1 s; at least 500 ms.
   */
  readonly maxStaleness?: Duration | undefined
  /** Default `ask-store`; `refuse` without a store. */
  readonly whenStale?: WhenStale | undefined
  /** Default `refuse`. */
  readonly whenStoreIsDown?: WhenStoreIsDown | undefined
  /** What may be kept in memory of verifications and endings. */
  readonly cache?: CacheOptions | undefined
  /** Default 30 minutes idle, 12 hours absolute. */
  readonly lifetime?: Lifetime | undefined
  /** The sections this service uses, each with a Standard Schema. Default: any section, as plain JSON. */
  readonly data?: S | undefined
  /** All sections together, in bytes of UTF-8. Default 65,536. */
  readonly maxDataBytes?: number | undefined
  /** Default: no role grants anything. */
  readonly roles?: Roles | undefined
  /** Default: as many sessions per user as they like. */
  readonly limit?: Limit | undefined
  /** Ways by which a credential may come, the first to hand out new ones. Default `cookieTransport()`. */
  readonly transport?: Transport | readonly Transport[] | undefined
  /** Other origins, such as `https://accounts.example`, whose pages may send requests that change something. */
  readonly trustedOrigins?: readonly string[] | undefined
  /**
   * How long a call to the store may take, up to a tenth more. Default 500 ms. A write whose answer was lost is settled by a
   * second call, so it may take twice as long.
   */
  readonly deadline?: Duration | undefined
  /** Called with everything worth observing, synchronously; must not throw. */
  readonly onEvent?: ((event: SessionEvent) => void) | undefined
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: (() => number) | undefined
  /** Milliseconds of elapsed time, never going back. Default: the monotonic clock and what a suspended machine slept. */
  readonly elapsed?: (() => number) | undefined
  /** That many random bytes. Default Web Crypto. */
  readonly random?: ((bytes: number) => Uint8Array) | undefined
}

/** Bounds of memory. What is beyond costs a look-up, never correctness. */
export interface CacheOptions {
  /** Verifications. Default 100,000. */
  readonly maxEntries?: number | undefined
  /** About how much they may take. Default 67,108,864. */
  readonly maxBytes?: number | undefined
  /** Endings and changes to remember, the latest; all of the last 10 s in any case. Each takes about 180 bytes. Default 100,000. */
  readonly maxEndings?: number | undefined
}

type Bounds = { readonly [Bound in keyof CacheOptions]-?: number }

/** What `createSessions` puts in where nothing is said. */
export interface Parts {
  readonly transport: Transport | readonly Transport[]
  readonly credentials: Credentials | readonly Credentials[]
  readonly verifier: (
    o: Bounds & {
      feed: Pick<Feed, 'follow'>
      maxStalenessMs: number
      now: () => number
      changed: (cause: unknown) => void
      gap: () => void
      keysChanged: () => Promise<unknown>
    },
  ) => Verifier
}

/** What every kind of `Sessions` can be told, checked; in ms. Throws `ConfigError`, naming the option. */
export function checkShared(
  o: Pick<SessionsOptions<Schemas>, 'deadline' | 'maxStaleness' | 'whenStale' | 'cache'> & Pick<Parts, 'transport'>,
): { readonly deadlineMs: number; readonly maxStalenessMs: number; readonly cache: Bounds } {
  const deadlineMs = milliseconds('deadline', o.deadline ?? '500ms')
  if (deadlineMs > 60_000) throw new ConfigError('deadline: at most 60s; requests wait for it')
  const maxStalenessMs = milliseconds('maxStaleness', o.maxStaleness ?? '1s')
  if (maxStalenessMs < 500) throw new ConfigError('maxStaleness: at least 500ms; reading the feed takes that long')
  if (maxStalenessMs > 60_000)
    throw new ConfigError('maxStaleness: at most 60s; that long an ended session may be let in')
  checkChoice('whenStale', o.whenStale, ['ask-store', 'refuse', 'trust-signed'])
  for (const [name, bound] of Object.entries(o.cache ?? {})) {
    if (bound !== undefined && !(bound >= 0)) throw new ConfigError(`cache.${name}: expected a number, 0 or more`)
  }
  if (Array.isArray(o.transport) && o.transport.length === 0) throw new ConfigError('transport: expected at least one')
  const { maxEntries = 100_000, maxBytes = 67_108_864, maxEndings = 100_000 } = o.cache ?? {}
  return { deadlineMs, maxStalenessMs, cache: { maxEntries, maxBytes, maxEndings } }
}

/** Throws `ConfigError`, naming the option. */
export function checkOptions(o: Omit<SessionsOptions<Schemas>, keyof Parts> & Parts): void {
  const { store, feed, limit, maxDataBytes } = o
  const kinds = [o.credentials].flat()
  if (kinds.length === 0) throw new ConfigError('credentials: expected at least one kind')
  const sealed = kinds.filter(({ kind }) => kind === 'sealed').length
  if (sealed > 0 && (store !== undefined || sealed < kinds.length))
    throw new ConfigError(
      'store: sealed credentials keep the whole session in the cookie; use them alone, without a store',
    )
  if (sealed === 0 && typeof store?.put !== 'function')
    throw new ConfigError('store: required, such as memoryStore() or redisStore(client)')
  if (feed !== undefined && typeof feed?.follow !== 'function')
    throw new ConfigError('feed: expected one such as memoryFeed() or redisFeed(client)')
  checkChoice('whenStoreIsDown', o.whenStoreIsDown, ['refuse', 'trust-signed'])
  if (limit !== undefined) {
    if (!Number.isInteger(limit.perUser) || limit.perUser < 1)
      throw new ConfigError('limit.perUser: expected 1 or more')
    if (!['end-oldest', 'refuse'].includes(limit.whenReached)) {
      throw new ConfigError("limit.whenReached: expected 'end-oldest' or 'refuse'")
    }
  }
  if (maxDataBytes !== undefined && !(maxDataBytes >= 2))
    throw new ConfigError('maxDataBytes: expected a number of bytes')
}

export function checkChoice(option: string, value: string | undefined, choices: readonly string[]): void {
  if (value !== undefined && !choices.includes(value))
    throw new ConfigError(`${option}: expected ${choices.join(', ')}; got '${value}'`)
}

export function checkOrigin(origin: string): string {
  if (URL.canParse(origin) && new URL(origin).origin === origin) return origin
  throw new ConfigError(`trustedOrigins: '${origin}' is no origin; write it as https://accounts.example`)
}
