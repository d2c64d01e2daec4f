// A Request and its Response as an exchange; frameworks on fetch share it.
import type { Exchange } from '../transport/transport.ts'
import { withVary } from './vary.ts'

export class FetchExchange implements Exchange {
  readonly header: (name: string) => string | null
  readonly method: string
  readonly address: string | null
  headersSent = false
  readonly cookies = new Map<string, string>()
  readonly #reads = new Set<string>()

  constructor(request: Request, address: string | null) {
    // Some runtimes keep Host out of the headers; the URL says it too.
    this.header = (name) => request.headers.get(name) ?? (name === 'host' ? new URL(request.url).host : null)
    this.method = request.method
    this.address = address
  }

  setCookie(line: string): void {
    this.cookies.set(line.slice(0, line.indexOf('=')), line)
  }
  dependsOn(header: string): void {
    this.#reads.add(header)
  }

  /** Ours added, where there is a response to add to; what it says of caching stands, unless a credential is in it. */
  complete(response: Response): Response {
    this.headersSent = true
    if (response.status < 200 || (this.cookies.size === 0 && this.#reads.size === 0)) return response
    // One without a body the application may answer others with, so a credential goes into none of its own. A copy costs ten times the rest.
    if (this.cookies.size === 0 && this.#varies(response.headers)) return response
    const headers = new Headers(response.headers)
    this.#varies(headers)
    if (this.cookies.size > 0) headers.set('cache-control', 'no-store')
    for (const line of this.cookies.values()) headers.append('set-cookie', line)
    return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
  }

  /** False where they can't be changed, as those of an answer of `fetch`. */
  #varies(headers: Headers): boolean {
    try {
      for (const name of this.#reads) headers.set('vary', withVary(headers.get('vary'), name))
      if (!headers.has('cache-control')) headers.set('cache-control', 'no-store')
      return true
    } catch {
      return false
    }
  }
}
