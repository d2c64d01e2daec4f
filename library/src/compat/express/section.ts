// What express-session keeps of a session, as one section of its data: the same JSON, `cookie` among the keys.
import type { Limits } from '../../policy.ts'

export const section = 'express-session'

/** A session as express-session stores it. */
export type Kept = Readonly<Record<string, unknown>>

/** Key → JSON of its value; without `cookie`, whose changes count as none. */
export type Snapshot = ReadonlyMap<string, string>

export const nothing: Snapshot = new Map()

/** What the stores of express-session do with a session whose cookie has no `maxAge`; and an end that they don't have. */
export const defaultLifetime: Limits = { idle: '1d', absolute: '30d' }

export function keptOf(session: object): Kept {
  return JSON.parse(JSON.stringify(session)) as Kept
}

export function snapshotOf(kept: Kept): Snapshot {
  const own = Object.entries(kept).filter(([key]) => key !== 'cookie')
  return new Map(own.map(([key, value]) => [key, JSON.stringify(value)]))
}

export function sameData(a: Snapshot, b: Snapshot): boolean {
  return a.size === b.size && [...a].every(([key, json]) => b.get(key) === json)
}

/** What is stored, with only those keys changed that are other in `mine` than in `base`, out of which it was made. */
export function merged(stored: Kept, base: Snapshot, mine: Kept): Kept {
  const result = new Map(Object.entries(stored))
  const own = snapshotOf(mine)
  for (const key of base.keys()) if (!own.has(key)) result.delete(key)
  for (const [key, json] of own) if (base.get(key) !== json) result.set(key, mine[key])
  result.set('cookie', mine['cookie'])
  return Object.fromEntries(result)
}

/** When it ends by its own cookie, in ms since the epoch. `idleMs` is for one that lives as long as the browser. */
export function ownEnd(cookie: unknown, seenAt: number, idleMs: number): number {
  const { expires } = (cookie ?? {}) as { expires?: unknown }
  const at = typeof expires === 'string' ? Date.parse(expires) : Number.NaN
  return Number.isNaN(at) ? seenAt + idleMs : at
}

/**
 * Whether it is worth a write that a session was used: `stored` and `current` are its cookie then and now. Once in a tenth of the time that it
 * may stay unused, and when the application changed how long that is.
 */
export function touchDue(stored: unknown, current: object, seenAt: number, idleMs: number): boolean {
  const now = Date.now()
  const { originalMaxAge } = current as { originalMaxAge?: number | null | false }
  const isChanged = lasting(stored) !== lasting(current)
  return isChanged || ownEnd(current, now, idleMs) - ownEnd(stored, seenAt, idleMs) >= (originalMaxAge || idleMs) / 10
}

/** What of a cookie is not just the passing of time. */
function lasting(cookie: unknown): string {
  const { expires, ...rest } = (cookie ?? {}) as { expires?: unknown }
  return JSON.stringify({ ...rest, expires: typeof expires === 'string' })
}

/** Whose session Passport says it is: the user's id, or the `id` of what stands for the user. */
export function passportUser(session: object): string | null {
  const { user } = (session as { passport?: { user?: unknown } | null }).passport ?? {}
  return userIdOf(user) ?? userIdOf((user as { id?: unknown } | null | undefined)?.id)
}

/** A string or a number as the id of a user; `null` for what can't be one, such as a whole token. */
export function userIdOf(value: unknown): string | null {
  if (typeof value !== 'string' && typeof value !== 'number') return null
  const id = String(value)
  return /^\P{Cc}{1,256}$/u.test(id) && id.isWellFormed() ? id : null
}
