// What carries a credential between a client and a service, and what an adapter gives to work on.

/** One request and its response, as an adapter shows them. */
export interface Exchange {
  readonly method: string
  /** A request header by lower-case name; `null` when absent. A field sent twice that must not be answers `null` too. */
  header(name: string): string | null
  /** Address of the peer; `null` when unknown. */
  readonly address: string | null
  /** True when it is too late for a `Set-Cookie`. */
  readonly headersSent: boolean
  /** Adds a `Set-Cookie` line in place of an earlier one for the same cookie (RFC 6265bis, section 4.1.1). */
  setCookie(line: string): void
  /** The response depends on this request header: `Vary` names it, and `Cache-Control: no-store`. */
  dependsOn(header: string): void
}

/** More than one credential where there may be one. Which is the right one can't be known, so none is tried. */
export const duplicate: unique symbol = Symbol('duplicate')

/** Request header by lower-case name. */
export type HeaderOf = (name: string) => string | null

/** Headers ⇄ credential string. Knows nothing of what the string means. */
export interface Transport {
  /** The request header, in lower case, on which a response depends. */
  readonly reads: string
  /** Whether a browser sends the credential by itself, so that other sites can make it do so. */
  readonly ambient: boolean
  /** The credential, `null` when there is none. */
  extract(header: HeaderOf): string | null | typeof duplicate
  /**
   * `Set-Cookie` lines that hand out `token`, for `maxAgeMs` or until the browser closes (`null`); none when the transport can't
   * hand out, as with bearer tokens. `header` is of the request, whose own cookies may have to go. `null`: too long to be
   * handed out at all.
   */
  attach(token: string, maxAgeMs: number | null, header: HeaderOf): readonly string[] | null
  /** `Set-Cookie` lines that take the credential away. */
  clear(header: HeaderOf): readonly string[]
  /** Carries the refresh token of credentials that have one; `null`: the client gets and sends it by a way of its own. */
  readonly refresh: Transport | null
}
