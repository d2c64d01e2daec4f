// The credential in the Authorization header.
import type { Transport } from './transport.ts'

/**
 * Sessions by `Authorization: Bearer …` (RFC 6750, section 2.1), for clients that are no browsers. It hands out nothing by
 * itself: give the client the `token` that `signIn` or `start` returns. Guests need `start(null)`.
 */
export function bearerTransport(): Transport {
  return {
    reads: 'authorization',
    ambient: false,
    extract(header) {
      const value = header('authorization')
      if (value === null) return null
      // RFC 9110, section 11.1: the scheme is case-insensitive, one or more spaces follow it.
      return /^bearer +(\S.*)$/i.exec(value)?.[1] ?? null
    },
    attach: () => [],
    clear: () => [],
    refresh: null,
  }
}
