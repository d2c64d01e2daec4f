// Whether a request that changes something was made by another site in the user's browser.
import { CrossSiteError } from './errors.ts'

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** A safe method changes nothing (RFC 9110, section 9.2.1), so it may come from anywhere. */
export function isSafe(method: string): boolean {
  return safeMethods.has(method)
}

/**
 * Throws `CrossSiteError` unless an unsafe request shows that it is the site's own: `Sec-Fetch-Site` says `same-origin` or
 * `none`, or, in browsers that don't send it, `Origin` is the origin asked (its host equals `Host`). Other subdomains are
 * other sites here. With neither header it is no browser: it passes without a cookie, and is refused with one.
 *
 * @param header - request header by lower-case name; `null` when absent
 * @param carriesCookie - whether the browser would have sent the credential by itself
 * @param trustedOrigins - origins, such as `https://accounts.example`, that may send such requests
 */
export function refuseCrossSite(
  header: (name: string) => string | null,
  carriesCookie: boolean,
  trustedOrigins: ReadonlySet<string>,
): void {
  const origin = header('origin')
  if (origin !== null && trustedOrigins.has(origin)) return
  const site = header('sec-fetch-site')
  if (site === 'same-origin' || site === 'none') return
  if (site !== null) throw new CrossSiteError(`refused: a ${site} request may not change anything here`)
  if (origin !== null) {
    const host = hostOf(origin)
    if (host !== null && host === header('host')?.toLowerCase()) return
    throw new CrossSiteError('refused: the request comes from another origin')
  }
  if (carriesCookie) {
    throw new CrossSiteError(
      'refused: a cookie alone may change nothing; send Origin, as browsers do, or use a bearer token',
    )
  }
}

function hostOf(origin: string): string | null {
  if (!/^https?:\/\//.test(origin) || !URL.canParse(origin)) return null
  const url = new URL(origin)
  // As browsers write it: nothing before the host, nothing after the port.
  return url.origin === origin ? url.host : null
}
