// Lifetimes: what an instant means for a session. Pure; the only clock is the argument.
import { ConfigError } from './errors.ts'
import { milliseconds, type Duration } from './internal/duration.ts'
import type { SessionRecord } from './store.ts'

/** Both ends of a session: after `idle` without a request, and `absolute` after sign-in whatever happens. */
export interface Limits {
  readonly idle: Duration
  readonly absolute: Duration
}

/**
 * Limits by name follow NIST SP 800-63B-4: `aal1` 30 days (2.1.3), `aal2` 1 hour idle and 24 hours (2.2.3), `aal3`
 * 15 minutes idle and 12 hours (2.3.3). `remember` is for `signIn(…, { remember: true })`, a deliberate deviation.
 */
export type Lifetime = 'aal1' | 'aal2' | 'aal3' | (Limits & { readonly remember?: Limits | undefined })

/** What of a record the limits speak of. */
type Times = Pick<SessionRecord, 'createdAt' | 'seenAt' | 'expiresAt'>

export interface Policy {
  /** Whether sessions may be remembered at all. */
  readonly remembers: boolean
  /** When the session ends whatever happens. Only a new sign-in moves it. */
  endsAt(createdAt: number, remembered: boolean): number
  /** When a session used at `now` expires: the idle end, never later than the absolute one. */
  expiresAt(createdAt: number, now: number, remembered: boolean): number
  /** False at either end and after it. `remembered` is asked only when it matters. */
  live(record: Times, now: number, remembered: () => boolean): boolean
  /** Whether a tenth of the idle time has passed since the last extension. */
  touchDue(record: Times, now: number, remembered: () => boolean): boolean
}

const presets: Record<string, Limits> = {
  aal1: { idle: '30d', absolute: '30d' },
  aal2: { idle: '1h', absolute: '24h' },
  aal3: { idle: '15m', absolute: '12h' },
}

/** RFC 6265bis, section 5.5: user agents cap a cookie's life there. */
const longest = milliseconds('longest', '400d')

export function policy(lifetime: Lifetime): Policy {
  const limits = typeof lifetime === 'string' ? presets[lifetime] : lifetime
  if (limits === undefined)
    throw new ConfigError(`lifetime: there is no preset '${String(lifetime)}'; use aal1, aal2 or aal3`)
  const normal = parsed('lifetime', limits)
  const remember = typeof lifetime === 'string' ? undefined : lifetime.remember
  const long = remember === undefined ? null : parsed('lifetime.remember', remember)

  // A remembered session whose configuration was taken away falls back to the normal limits.
  const of = (remembered: boolean) => (remembered ? (long ?? normal) : normal)
  const shortestAbsolute = Math.min(normal.absolute, long?.absolute ?? normal.absolute)
  const shortestIdle = Math.min(normal.idle, long?.idle ?? normal.idle)

  return {
    remembers: long !== null,
    endsAt: (createdAt, remembered) => createdAt + of(remembered).absolute,
    expiresAt(createdAt, now, remembered) {
      const { idle, absolute } = of(remembered)
      return Math.min(now + idle, createdAt + absolute)
    },
    live(record, now, remembered) {
      if (now >= record.expiresAt) return false
      // Limits may have been tightened since the record was written.
      if (now < record.createdAt + shortestAbsolute && now < record.seenAt + shortestIdle) return true
      const { idle, absolute } = of(remembered())
      return now < record.createdAt + absolute && now < record.seenAt + idle
    },
    touchDue(record, now, remembered) {
      if (now - record.seenAt < shortestIdle / 10) return false
      return now - record.seenAt >= of(remembered()).idle / 10
    },
  }
}

function parsed(option: string, { idle, absolute }: Limits): { idle: number; absolute: number } {
  const limits = { idle: milliseconds(`${option}.idle`, idle), absolute: milliseconds(`${option}.absolute`, absolute) }
  if (limits.idle > limits.absolute)
    throw new ConfigError(`${option}: idle (${idle}) is longer than absolute (${absolute})`)
  if (limits.absolute > longest) throw new ConfigError(`${option}.absolute: at most 400d, got ${absolute}`)
  return limits
}
