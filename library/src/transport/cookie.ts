// The credential in a cookie.
import { ConfigError } from '../errors.ts'
import { duplicate, type HeaderOf, type Transport } from './transport.ts'

/** What the cookie is called, and to whom browsers send it. */
export interface CookieOptions {
  /**
   * Default `__Host-session`, which browsers keep for this host and HTTPS alone (`http://localhost` counts). Matched byte
   * for byte.
   */
  readonly name?: string | undefined
  /** Default `lax`. `none` is for pages inside other sites' frames and needs `partitioned`. */
  readonly sameSite?: 'lax' | 'strict' | 'none' | undefined
  /** A separate cookie per embedding site (CHIPS). Default false. */
  readonly partitioned?: boolean | undefined
  /** Shares the cookie with all subdomains of this domain; needs a name without `__Host-`. Default: this host alone. */
  readonly domain?: string | undefined
}

/** Name and value of one cookie, in octets; browsers drop what is longer (RFC 6265bis, section 5.6). */
const maxOctets = 4096
/** About 12 KB in all: Node, which takes 16 KB of request headers by default, would refuse what is much longer. */
const maxChunks = 3
/** What stands for a set of cookies that is not whole: `~` is in no credential's alphabet. */
const incomplete = '~'

/**
 * Sessions by cookie: `Secure`, `HttpOnly`, `Path=/`, gone with the browser unless remembered. Refresh tokens go into a second
 * one, whose name ends in `-refresh`.
 *
 * A token that no single cookie can hold goes into up to three, of about 12 KB together: `name`, `name~1` and `name~2`, where
 * `name` says how many. A longer one is not handed out (`attach` answers `null`). Proxies may take less than Node; nginx takes
 * 8 KB of cookies unless `large_client_header_buffers` says more. A set that is not whole is read as `~`, never in part, so that
 * the session is anonymous because of a `malformed` credential.
 */
export function cookieTransport(options: CookieOptions = {}): Transport {
  const { name = '__Host-session', sameSite = 'lax', partitioned = false, domain } = options
  check(name, sameSite, partitioned, domain)
  const attributes =
    `; Path=/; Secure; HttpOnly; SameSite=${{ lax: 'Lax', strict: 'Strict', none: 'None' }[sameSite]}` +
    (domain === undefined ? '' : `; Domain=${domain}`) +
    (partitioned ? '; Partitioned' : '')
  return cookie(name, attributes, cookie(`${name}-refresh`, attributes, null))
}

function cookie(name: string, attributes: string, refresh: Transport | null): Transport {
  const names = Array.from({ length: maxChunks }, (_, i) => (i === 0 ? name : `${name}~${i}`))
  /** What is left for a part of the token, beside a name with `~1` or a value with `~2.`. */
  const room = maxOctets - name.length - 3

  /** Takes away the cookies from the `kept`th on which the request has; what it does not have costs no line. */
  function cleared(kept: number, header: HeaderOf): readonly string[] {
    const cookies = header('cookie') ?? ''
    const left = names.filter((own, i) => i >= kept && (i === 0 || find(cookies, own) !== null))
    return left.map((own) => `${own}=${attributes}; Max-Age=0`)
  }

  return {
    reads: 'cookie',
    ambient: true,
    refresh,
    extract(header) {
      const cookies = header('cookie')
      if (cookies === null) return null
      const value = find(cookies, name)
      return typeof value === 'string' && value[0] === '~' ? joined(cookies, names, value) : value
    },
    attach(token, maxAgeMs, header) {
      const isWhole = name.length + token.length <= maxOctets
      const count = isWhole ? 1 : Math.ceil(token.length / room)
      if (count > maxChunks) return null
      const values = isWhole
        ? [token]
        : names.slice(0, count).map((_, i) => (i === 0 ? `~${count}.` : '') + token.slice(i * room, (i + 1) * room))
      const age = maxAgeMs === null ? '' : `; Max-Age=${Math.floor(maxAgeMs / 1000)}`
      return [...values.map((value, i) => `${names[i]}=${value}${attributes}${age}`), ...cleared(count, header)]
    },
    clear: (header) => cleared(0, header),
  }
}

/** `first` says how many cookies there are, as `~2.`, before the first part of the token. */
function joined(cookies: string, names: readonly string[], first: string): string | typeof duplicate {
  const count = names.findIndex((_, i) => i > 0 && first.startsWith(`~${i + 1}.`)) + 1
  if (count === 0) return incomplete
  let token = first.slice(3)
  for (const name of names.slice(1, count)) {
    const part = find(cookies, name)
    if (part === duplicate) return duplicate
    if (part === null) return incomplete
    token += part
  }
  return token
}

/** Only SP and HTAB surround a pair, quotes mean nothing, and order is not trusted (RFC 6265bis, sections 5.6 and 4.2.2). */
function find(cookies: string, name: string): string | null | typeof duplicate {
  let found: string | null = null
  let at = cookies.indexOf(name)
  while (at !== -1) {
    const after = at + name.length
    const equals = skipBlanks(cookies, after, 1)
    const before = skipBlanks(cookies, at - 1, -1)
    const startsPair = before < 0 || cookies[before] === ';'
    if (startsPair && cookies[equals] === '=') {
      if (found !== null) return duplicate
      const end = cookies.indexOf(';', equals)
      const last = skipBlanks(cookies, (end === -1 ? cookies.length : end) - 1, -1)
      found = cookies.slice(skipBlanks(cookies, equals + 1, 1), last + 1)
    }
    at = cookies.indexOf(name, after)
  }
  return found
}

function skipBlanks(text: string, from: number, step: 1 | -1): number {
  let at = from
  while (isBlank(text.charCodeAt(at))) at += step
  return at
}

/** By code, since it is asked before the first character too: `text[-1]` is looked up as a property, which takes a microsecond. */
function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function check(name: string, sameSite: string, partitioned: boolean, domain: string | undefined): void {
  if (!/^[!#$%&'*+.^_`|~\w-]{1,128}$/.test(name)) throw new ConfigError(`cookie name: '${name}' is no token (RFC 6265)`)
  if (!['lax', 'strict', 'none'].includes(sameSite))
    throw new ConfigError(`sameSite: expected lax, strict or none, got '${sameSite}'`)
  if (sameSite === 'none' && !partitioned) throw new ConfigError("sameSite: 'none' needs partitioned: true")
  if (domain === undefined) return
  if (!/^[a-z\d]([a-z\d.-]{0,251}[a-z\d])?$/i.test(domain))
    throw new ConfigError(`domain: '${domain}' is no domain name`)
  if (/^__host-/i.test(name))
    throw new ConfigError('domain: a __Host- cookie has none; choose a name such as __Secure-session')
}
