// Who calls: HTTP Basic with a client's id and secret, and whether that client may.
import { timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { hashSecret, type FindClient } from '../clients.ts'
import { may, maySome, type Client, type Permission } from '../permissions.ts'
import { Problem } from '../problems.ts'
import type { FailureLimits } from './limits.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls. `null` on calls that are open to everyone. */
    client: Client | null
  }
  interface FastifyContextConfig {
    /** What the caller must be permitted. Without it a call is open to everyone. */
    permission?: Permission
    /** `param`: the permission may be one for the section in the path. `some`: one for any section or audience is enough here. */
    section?: 'param' | 'some'
  }
}

/** Settles who calls, before the body is read. Throws or rejects with a `Problem` when nobody known does. */
export type Authenticate = (request: FastifyRequest) => Client | Promise<Client>

export function basicAuthentication(
  find: FindClient,
  limits: FailureLimits,
  failed: (request: FastifyRequest) => void,
): Authenticate {
  /** Compares in any case, so that the time taken tells nothing of which ids there are. */
  function verified(client: Client | null, secret: string): Client | null {
    const right = equal(hashSecret(secret), client?.secretHash ?? nobodysHash)
    return right ? client : null
  }

  async function refuse(request: FastifyRequest): Promise<never> {
    failed(request)
    await limits.count('client', request.socket.remoteAddress)
    throw unauthorized('the client id or secret is wrong')
  }

  return (request) => {
    const header = request.headers.authorization
    if (header === undefined)
      throw unauthorized('this call wants HTTP Basic authentication with a client id and its secret')
    const claimed = readBasic(header)
    if (claimed === null) return refuse(request)
    const found = find(claimed.id)
    if (found instanceof Promise) {
      return found.then((client) => verified(client, claimed.secret) ?? refuse(request))
    }
    return verified(found, claimed.secret) ?? refuse(request)
  }
}

/** Throws a `Problem` (403) that names the permission which is missing. */
export function authorize(client: Client, request: FastifyRequest): void {
  const { permission, section } = request.routeOptions.config
  if (permission === undefined) return
  if (section === 'some' ? maySome(client, permission) : may(client, permission, sectionOf(request, section))) return
  const narrow = section === 'param' ? ` (or ${permission}:${sectionOf(request, section)})` : ''
  throw missing(permission, narrow)
}

/** 403, naming the permission. */
export function missing(permission: string, more = ''): Problem {
  return new Problem(403, 'missing-permission', `this client lacks the permission ${permission}${more}`)
}

function sectionOf(request: FastifyRequest, section: 'param' | 'some' | undefined): string | null {
  return section === 'param' ? (request.params as { section: string }).section.slice(0, 64) : null
}

function unauthorized(detail: string): Problem {
  return new Problem(401, 'invalid-client', detail, {
    headers: { 'www-authenticate': 'Basic realm="holdfast", charset="UTF-8"' },
  })
}

function readBasic(header: string): { id: string; secret: string } | null {
  const encoded = header.length <= 1024 ? /^basic +([\w+/-]+={0,2})$/i.exec(header)?.[1] : undefined
  if (encoded === undefined) return null
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return colon === -1 ? null : { id: text.slice(0, colon), secret: text.slice(colon + 1) }
}

/** Of nothing that was ever a secret. */
const nobodysHash = 'A'.repeat(43)

function equal(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'))
}
