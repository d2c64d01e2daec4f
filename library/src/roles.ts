// Roles stand for permissions; `orders:*` covers every permission that begins with `orders:`.
import { ConfigError } from './errors.ts'

/** Role name → the permissions it grants. `*` grants all, `orders:*` all of `orders:`. */
export type Roles = Readonly<Record<string, readonly string[]>>

/** Whether any of `roles` grants `permission`. An unknown role grants nothing. */
export type Grants = (roles: readonly string[], permission: string) => boolean

/** `ConfigError` when a grant has a `*` anywhere but as its last part. */
export function grants(roles: Roles): Grants {
  const byRole = new Map(Object.entries(roles).map(([role, permissions]) => [role, permissions.map(checked)]))
  return (held, permission) =>
    held.some((role) => byRole.get(role)?.some((grant) => covers(grant, permission)) ?? false)
}

/** What both allow: never more than either. */
export function narrowed(scope: readonly string[], to: readonly string[]): readonly string[] {
  const both = scope.flatMap((mine) =>
    to.flatMap((theirs) => (covers(mine, theirs) ? theirs : covers(theirs, mine) ? mine : [])),
  )
  return [...new Set(both)]
}

function checked(grant: string): string {
  if (isGrant(grant)) return grant
  throw new ConfigError(`roles: '${grant}' is no permission; write '*', 'orders:*' or 'orders:read'`)
}

/** Whether it is a permission, `orders:*` or `*`. */
export function isGrant(text: string): boolean {
  return /^(\*|[^*]+(:\*)?)$/.test(text)
}

/** Whether `grant` allows `permission`, or all that another grant allows. */
export function covers(grant: string, permission: string): boolean {
  if (grant === permission || grant === '*') return true
  return grant.endsWith(':*') && permission.startsWith(grant.slice(0, -1)) && permission.length >= grant.length
}
