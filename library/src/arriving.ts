// What a request brings: the credential, by which transport, and whether it may change anything; and where a new one goes.
import { isSafe, refuseCrossSite } from './cross-site.ts'
import { CredentialError } from './errors.ts'
import type { Reply } from './held-session.ts'
import { checkOrigin } from './options.ts'
import { duplicate, type Exchange, type Transport } from './transport/transport.ts'

export interface Arrived {
  readonly token: string | null | typeof duplicate
  readonly reply: Reply
}

export interface Arrivals {
  /** The credential of a request, and where a new one would go. Throws when the request may not change anything. */
  toOpen(exchange: Exchange): Arrived
  /** The refresh token of a request; `null` when it carries none. Throws when the new one could not be handed out. */
  toRefresh(exchange: Exchange): Arrived | null
}

/** Of `transports` the first hands out new credentials. */
export function arrivals(transports: readonly Transport[], trustedOrigins: readonly string[]): Arrivals {
  const trusted = new Set(trustedOrigins.map(checkOrigin))

  return {
    toOpen(exchange) {
      const header = (name: string) => exchange.header(name)
      let transport = transports[0]!
      let token: Arrived['token'] = null
      for (const candidate of transports) {
        const extracted = candidate.extract(header)
        if (extracted === null) continue
        if (token === null) transport = candidate
        token = token === null ? extracted : duplicate
      }
      // Without a credential it is the first transport's: a sign-in would hand one out by it (login CSRF).
      if (transport.ambient && !isSafe(exchange.method)) refuseCrossSite(header, token !== null, trusted)
      return { token, reply: { exchange, transport } }
    },

    toRefresh(exchange) {
      const header = (name: string) => exchange.header(name)
      const transport = transports.find(({ refresh }) => (refresh?.extract(header) ?? null) !== null)
      if (transport === undefined) return null
      // Whatever the method: it changes something.
      if (transport.ambient) refuseCrossSite(header, true, trusted)
      if (exchange.headersSent)
        throw new CredentialError('undeliverable', 'the response has begun: refresh before answering')
      return { token: transport.refresh!.extract(header), reply: { exchange, transport } }
    },
  }
}
