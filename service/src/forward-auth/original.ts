// The request that a proxy asks about: from its X-Forwarded-* headers, or as Envoy passes it on behind a path prefix.
import type { IncomingMessage } from 'node:http'
import type { Exchange } from 'holdfast'
import { canonicalHost, canonicalPath, type CanonicalPath } from './canonical.ts'

/** Why a request can't be judged. */
export interface Unclear {
  /** `proxy`: it was not described, so the proxy is set up wrong. `request`: it could be understood in more than one way. */
  readonly fault: 'proxy' | 'request'
  readonly why: string
}

/** Requests to this path, and below it, are questions. */
export const prefix = '/forward-auth'

/** Those that count, by lower-case name; one of them twice is refused, but for cookies, which HTTP/2 sends in pieces. */
const read = new Set([
  'host',
  'cookie',
  'authorization',
  'accept',
  'origin',
  'sec-fetch-site',
  'sec-fetch-mode',
  'sec-websocket-version',
  'x-forwarded-method',
  'x-forwarded-host',
  'x-forwarded-uri',
])
/** What some servers take in place of the method or the target: let through only when it says the same. */
const overrides = /^x-(http-method(-override)?|method-override|original-(method|ur[il])|rewrite-ur[il])$/
/** With `_` for `-`, which servers that hand headers on as variables take for the same. */
const ours = /^(x-holdfast-.*|txn-token|x-forwarded-.*)$/

/** A request as the client sent it to the proxy; what `sessions.open` is given. */
export class Original implements Exchange {
  /** As the client sent it; what rules are about. */
  readonly asked: string
  /** To judge the origin by. What is done over a WebSocket is no mere look, though a browser opens it by a GET, and from anywhere. */
  readonly method: string
  /** Canonical. */
  readonly host: string
  readonly path: CanonicalPath
  /** Path and query as they came. */
  readonly target: string
  readonly address = null
  readonly headersSent = false
  readonly #headers: ReadonlyMap<string, string>
  readonly #cookies = new Map<string, string>()

  constructor(method: string, host: string, path: CanonicalPath, target: string, headers: ReadonlyMap<string, string>) {
    this.asked = method
    this.method = headers.has('sec-websocket-version') ? 'CONNECT' : method
    this.host = host
    this.path = path
    this.target = target
    this.#headers = headers
  }

  header(name: string): string | null {
    return this.#headers.get(name) ?? null
  }
  setCookie(line: string): void {
    this.#cookies.set(line.slice(0, line.indexOf('=')), line)
  }
  dependsOn(): void {
    // Every answer is `no-store`.
  }
  /** `Set-Cookie` lines for the browser. */
  get cookies(): readonly string[] {
    return [...this.#cookies.values()]
  }
}

export function originalOf({ method: asked = '', url = '', rawHeaders }: IncomingMessage): Original | Unclear {
  const headers = new Map<string, string>()
  const overridden: [name: string, value: string][] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const field = fieldOf(rawHeaders[i]!)
    if (field === null) continue
    const { name, role } = field
    const value = rawHeaders[i + 1]!
    if (role === 'misspelt') return unclear('a header that only a proxy may send is spelt with _')
    if (role === 'override') overridden.push([name, value])
    else {
      const before = headers.get(name)
      if (before !== undefined && name !== 'cookie') return unclear(`there is more than one ${name} header`)
      headers.set(name, before === undefined ? value : `${before}; ${value}`)
    }
  }
  const described = asked !== '' && url.startsWith(`${prefix}/`) ? fromPath(asked, url, headers) : fromHeaders(headers)
  if ('fault' in described) return described
  const { method, authority, target } = described
  if (!/^[A-Z][A-Z-]{0,31}$/.test(method)) return unclear('the method is none in upper case')
  const host = canonicalHost(authority)
  if (host === null) return unclear('the host is none')
  const path = canonicalPath(target)
  if (path === null) return unclear('the path could be read in more than one way')
  for (const [name, value] of overridden) {
    const same = name.includes('method')
      ? [method]
      : [target, `http://${authority}${target}`, `https://${authority}${target}`]
    if (!same.includes(value)) return unclear(`${name} says something else than the request`)
  }
  // To compare `Origin` with.
  headers.set('host', authority)
  return new Original(method, host, path, target, headers)
}

interface Field {
  /** In lower case. */
  readonly name: string
  readonly role: 'read' | 'override' | 'misspelt'
}

/** By how the name is spelt: browsers and proxies do it in few ways. `null`: it does not matter here. */
const fields = new Map<string, Field | null>()
const fieldsAtMost = 1_000

function fieldOf(spelt: string): Field | null {
  const before = fields.get(spelt)
  if (before !== undefined) return before
  const name = spelt.toLowerCase()
  const isMisspelt = name.includes('_') && ours.test(name.replaceAll('_', '-'))
  const role: Field['role'] | null = read.has(name)
    ? 'read'
    : overrides.test(name)
      ? 'override'
      : isMisspelt
        ? 'misspelt'
        : null
  const field: Field | null = role === null ? null : { name, role }
  if (fields.size < fieldsAtMost) fields.set(spelt, field)
  return field
}

interface Described {
  readonly method: string
  readonly authority: string
  readonly target: string
}

/** Whatever the question's own method, host and query are: proxies ask with their own. */
function fromHeaders(headers: ReadonlyMap<string, string>): Described | Unclear {
  const method = headers.get('x-forwarded-method')
  const authority = headers.get('x-forwarded-host')
  const target = headers.get('x-forwarded-uri')
  if (method === undefined || authority === undefined || target === undefined)
    return {
      fault: 'proxy',
      why: 'X-Forwarded-Method, X-Forwarded-Host and X-Forwarded-Uri must say what is asked about',
    }
  return { method, authority, target }
}

/** Envoy's way. Others must not say something else at the same time. */
function fromPath(method: string, url: string, headers: ReadonlyMap<string, string>): Described | Unclear {
  for (const name of ['x-forwarded-method', 'x-forwarded-host', 'x-forwarded-uri']) {
    if (headers.has(name)) return unclear(`${name} came along with a path behind ${prefix}`)
  }
  return { method, authority: headers.get('host') ?? '', target: url.slice(prefix.length) }
}

function unclear(why: string): Unclear {
  return { fault: 'request', why }
}
