// A Request and its Response as an exchange; frameworks on fetch share it.
import type { Exchange } from '../transport/transport.ts'

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
    const headers = new Headers(response.headers)
    for (const line of this.cookies.values()) headers.append('set-cookie', line)
    for (const name of this.#reads) headers.append('vary', name)
    if (this.cookies.size > 0 || !headers.has('cache-control')) headers.set('cache-control', 'no-store')
    return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
  }
}
