// The credential in a cookie.
import { ConfigError } from '../errors.ts'
import { duplicate, type Transport } from './transport.ts'

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

/** Sessions by cookie: `Secure`, `HttpOnly`, `Path=/`, gone with the browser unless remembered. */
export function cookieTransport(options: CookieOptions = {}): Transport {
  const { name = '__Host-session', sameSite = 'lax', partitioned = false, domain } = options
  check(name, sameSite, partitioned, domain)
  const attributes =
    `; Path=/; Secure; HttpOnly; SameSite=${{ lax: 'Lax', strict: 'Strict', none: 'None' }[sameSite]}` +
    (domain === undefined ? '' : `; Domain=${domain}`) +
    (partitioned ? '; Partitioned' : '')

  return {
    reads: 'cookie',
    ambient: true,
    extract(header) {
      const cookies = header('cookie')
      return cookies === null ? null : find(cookies, name)
    },
    attach(token, maxAgeMs) {
      return `${name}=${token}${attributes}${maxAgeMs === null ? '' : `; Max-Age=${Math.floor(maxAgeMs / 1000)}`}`
    },
    clear() {
      return `${name}=${attributes}; Max-Age=0`
    },
  }
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
  while (text[at] === ' ' || text[at] === '\t') at += step
  return at
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
