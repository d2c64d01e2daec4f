// A request and response of node:http as an exchange; frameworks on node:http share it.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Exchange } from '../transport/transport.ts'
import { withVary } from './vary.ts'

/** Where a framework keeps the headers of its answer: in the response itself, or in something of its own. */
export interface AnswerHeaders extends Pick<ServerResponse, 'headersSent' | 'getHeader'> {
  setHeader(name: string, value: string | readonly string[]): unknown
}

export class NodeExchange implements Exchange {
  readonly #request: IncomingMessage
  readonly #response: AnswerHeaders
  readonly #addressOf: (() => string | undefined) | undefined

  /** `addressOf` tells the client's address as the framework's own proxy settings see it. */
  constructor(request: IncomingMessage, response: AnswerHeaders, addressOf?: () => string | undefined) {
    this.#request = request
    this.#response = response
    this.#addressOf = addressOf
  }

  get method(): string {
    return this.#request.method ?? 'GET'
  }

  get headersSent(): boolean {
    return this.#response.headersSent
  }

  get address(): string | null {
    return this.#addressOf?.() ?? this.#request.socket.remoteAddress ?? null
  }

  header(name: string): string | null {
    // In HTTP/2 the host is a pseudo-header (RFC 9113, section 8.3.1).
    const { headers } = this.#request
    const value = headers[name] ?? (name === 'host' ? headers[':authority'] : undefined)
    if (value === undefined) return null
    // node:http keeps the first of two of these, silently.
    if ((name === 'authorization' || name === 'host') && this.#count(name) > 1) return null
    return typeof value === 'string' ? value : value.join(', ')
  }

  #count(name: string): number {
    return this.#request.rawHeaders.filter((field, i) => i % 2 === 0 && field.toLowerCase() === name).length
  }

  setCookie(line: string): void {
    const cookie = line.slice(0, line.indexOf('=') + 1)
    const others = [this.#response.getHeader('set-cookie') ?? []].flat().map(String)
    this.#response.setHeader('set-cookie', [...others.filter((other) => !other.startsWith(cookie)), line])
  }

  dependsOn(header: string): void {
    const response = this.#response
    if (response.headersSent) return
    response.setHeader('cache-control', 'no-store')
    const vary = response.getHeader('vary')
    response.setHeader('vary', withVary(vary === undefined ? null : String(vary), header))
  }
}
