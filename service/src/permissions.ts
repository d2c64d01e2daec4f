// What a client of the service may do.

/** A client as the service knows it; of its secret there is only the hash. */
export interface Client {
  readonly id: string
  readonly permissions: ReadonlySet<string>
  readonly secretHash: string
}

/** Each permits the calls that name it. `read` and `write` may be narrowed to a section; `admin` permits everything. */
export const permissions = ['start', 'verify', 'read', 'write', 'end', 'feed', 'admin'] as const

export type Permission = (typeof permissions)[number]

export const sectionName = /^[A-Za-z][\w.-]{0,63}$/

/** Whether a client may do something, with a section if that is what it is done to. */
export function may({ permissions: held }: Client, permission: Permission, section: string | null = null): boolean {
  return held.has(permission) || (section !== null && held.has(`${permission}:${section}`)) || held.has('admin')
}

/** Whether a client may read at least one section. */
export function mayReadSome(client: Client): boolean {
  return may(client, 'read') || [...client.permissions].some((held) => held.startsWith('read:'))
}

/** Why a text is no permission, for people; `null` when it is one. */
export function whyNoPermission(text: string): string | null {
  if ((permissions as readonly string[]).includes(text)) return null
  const [verb, section, ...rest] = text.split(':')
  if ((verb === 'read' || verb === 'write') && rest.length === 0 && sectionName.test(section ?? '')) return null
  return `'${text}' is no permission; use ${permissions.join(', ')}, read:<section> or write:<section>`
}
