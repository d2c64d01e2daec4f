// A request and its response as an adapter would show them, without a server.
import type { Exchange } from 'holdfast'

export class FakeExchange implements Exchange {
  readonly method = 'GET'
  readonly address = null
  readonly headersSent = false
  readonly #headers: Readonly<Record<string, string>>

  constructor(headers: Readonly<Record<string, string>>) {
    this.#headers = headers
  }
  header(name: string): string | null {
    return this.#headers[name] ?? null
  }
  setCookie(): void {}
  dependsOn(): void {}
}
