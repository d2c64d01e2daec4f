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

/** Headers ⇄ credential string. Knows nothing of what the string means. */
export interface Transport {
  /** The request header, in lower case, on which a response depends. */
  readonly reads: string
  /** Whether a browser sends the credential by itself, so that other sites can make it do so. */
  readonly ambient: boolean
  /** The credential, `null` when there is none. */
  extract(header: (name: string) => string | null): string | null | typeof duplicate
  /** A `Set-Cookie` line that hands out `token`, for `maxAgeMs` or until the browser closes (`null`); `null` when the
   *  transport can't hand out, as with bearer tokens. */
  attach(token: string, maxAgeMs: number | null): string | null
  /** A `Set-Cookie` line that takes the credential away; `null` when there is nothing to take. */
  clear(): string | null
}
