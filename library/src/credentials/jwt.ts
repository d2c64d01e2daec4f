// Signed tokens in one strict form: what is not exactly what Holdfast writes is not read, so nothing has two readings.
import { after } from './after.ts'
import { bytesOf } from './base64url.ts'
import type { VerifyingKey, VerifyingKeys } from './keys.ts'

export type Claims = Readonly<Record<string, unknown>>

/** The claims of a token whose signature was checked, or why there are none. */
export type Opened =
  | { readonly claims: Claims }
  | { readonly refused: 'malformed' | 'token-type' | 'unknown-key' | 'signature' }

/** In characters, of which all are ASCII. What is longer is not looked at, nor issued. */
export const maxLength = 8_192

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Opens a compact JWS of that `typ`. `null`: not three parts. The header has `alg`, `typ` and `kid` and nothing else, so no key, no
 * address of one and no extension can be brought in by it; the algorithm is the key's, and the header must say the same.
 */
export function openJwt(token: string, typ: string, keys: VerifyingKeys): Opened | Promise<Opened> | null {
  const first = token.indexOf('.')
  const second = token.indexOf('.', first + 1)
  if (first === -1 || second === -1 || token.includes('.', second + 1)) return null
  if (token.length > maxLength) return { refused: 'malformed' }
  const signature = token.slice(second + 1)
  const [head, payload, proof] = [token.slice(0, first), token.slice(first + 1, second), signature].map(bytesOf)
  if (!head || !payload || !proof?.length) return { refused: 'malformed' }
  const header = objectIn(head)
  if (header === null) return { refused: 'malformed' }
  const { kid, alg } = header
  if (header['typ'] !== typ) return { refused: 'token-type' }
  if (Object.keys(header).length !== 3 || typeof kid !== 'string' || typeof alg !== 'string')
    return { refused: 'malformed' }
  return after<VerifyingKey | null, Opened>(keys.find(kid), (key) => {
    if (key === null) return { refused: 'unknown-key' }
    if (key.alg !== alg) return { refused: 'signature' }
    return after<boolean, Opened>(key.verify(token.slice(0, second), signature), (isGood) => {
      if (!isGood) return { refused: 'signature' }
      const claims = objectIn(payload)
      return claims === null ? { refused: 'malformed' } : { claims }
    })
  })
}

/**
 * The JSON object in the bytes of a part; `null` unless it is written as `JSON.stringify` writes it. So a name given twice, a number
 * that is none in JavaScript, and invalid UTF-8 are refused.
 */
function objectIn(bytes: Uint8Array): Claims | null {
  try {
    const text = decoder.decode(bytes)
    const value = JSON.parse(text) as unknown
    const isObject = value !== null && typeof value === 'object' && !Array.isArray(value)
    return isObject && JSON.stringify(value) === text ? (value as Claims) : null
  } catch {
    return null
  }
}
