// What a client of the service may do.

/** A client as the service knows it; of its secret there is only the hash. */
export interface Client {
  readonly id: string
  readonly permissions: ReadonlySet<string>
  readonly secretHash: string
}

/** Each permits the calls that name it. `read` and `write` may be narrowed to a section, `assert` to an audience; `admin` permits everything. */
export const permissions = ['start', 'verify', 'read', 'write', 'end', 'assert', 'feed', 'admin'] as const

export type Permission = (typeof permissions)[number]

export const sectionName = /^[A-Za-z][\w.-]{0,63}$/
export const clientId = /^[A-Za-z0-9][\w.-]{0,63}$/

/** Whether a client may do something, to a section or audience if there is one. */
export function may({ permissions: held }: Client, permission: Permission, object: string | null = null): boolean {
  return held.has(permission) || (object !== null && held.has(`${permission}:${object}`)) || held.has('admin')
}

/** Whether a client may do it to at least one section or audience. */
export function maySome(client: Client, permission: Permission): boolean {
  return may(client, permission) || [...client.permissions].some((held) => held.startsWith(`${permission}:`))
}

/** Why a text is no permission, for people; `null` when it is one. */
export function whyNoPermission(text: string): string | null {
  if ((permissions as readonly string[]).includes(text)) return null
  const [verb, object, ...rest] = text.split(':')
  const form = verb === 'read' || verb === 'write' ? sectionName : verb === 'assert' ? clientId : null
  if (form?.test(object ?? '') === true && rest.length === 0) return null
  return `'${text}' is no permission; use ${permissions.join(', ')}, read:<section>, write:<section> or assert:<audience>`
}
