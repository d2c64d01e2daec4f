// Keys that somebody else publishes as a JSON Web Key Set, to verify with.
import { ConfigError, StoreUnavailableError } from '../errors.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import { elapsedClock } from '../internal/elapsed.ts'
import { checkKeySet, isPrivate } from './jwk.ts'
import { sound, verifyingKey, type VerifyingKey, type VerifyingKeys } from './keys.ts'
import { found, lastGood } from './last-good.ts'

/** Where the keys are published, and how long they are believed. */
export interface RemoteKeysOptions {
  /** Of the key set, such as `https://accounts.example/.well-known/jwks.json`. */
  readonly url: string | URL
  /** Allow `http:` beyond this machine, where nobody in between can change what passes. Default false. */
  readonly allowHttp?: boolean | undefined
  /** Default the runtime's. */
  readonly fetch?: typeof globalThis.fetch | undefined
  /** The least time between two attempts, whatever names of keys strangers make up. Default 30 s. */
  readonly cooldown?: Duration | undefined
  /** A key that is no longer published is not believed for longer, while the set can be fetched. Default 10 minutes. */
  readonly maxAge?: Duration | undefined
  /** Milliseconds of elapsed time, never going back. Default: the monotonic clock and what a suspended machine slept. */
  readonly elapsed?: (() => number) | undefined
}

const deadlineMs = 2_000
const maxBytes = 65_536
const contentType = /^application\/(jwk-set\+)?json\s*(;|$)/i

/**
 * The public keys at `url`, fetched when first needed, again in the background when half of `maxAge` has passed, and when a token names
 * an unknown one. The set is taken whole or not at all, by the rules of `staticKeys`, with public keys alone. While it can't be
 * fetched (in 2 s, 65,536 bytes, as JSON, without a redirect) the last good one holds; where a key is not in that, or there is none,
 * `find` rejects with `StoreUnavailableError`.
 *
 * Throws `ConfigError` when `url` is neither `https:` nor on this machine, unless `allowHttp` says so.
 */
export function remoteKeys(o: RemoteKeysOptions): VerifyingKeys {
  const url = checkUrl(o.url, o.allowHttp === true)
  const { fetch = globalThis.fetch, elapsed = elapsedClock() } = o
  const cooldownMs = milliseconds('cooldown', o.cooldown ?? '30s')
  const maxAgeMs = milliseconds('maxAge', o.maxAge ?? '10m')

  async function read(): Promise<ReadonlyMap<string, VerifyingKey>> {
    try {
      const signal = AbortSignal.timeout(deadlineMs)
      const response = await fetch(url, {
        signal,
        redirect: 'error',
        headers: { accept: 'application/jwk-set+json, application/json' },
      })
      return keysIn(await body(response))
    } catch (cause) {
      throw new StoreUnavailableError(`the keys at ${url.origin}${url.pathname} could not be had`, cooldownMs, cause)
    }
  }

  const keys = lastGood({ read, maxAgeMs, cooldownMs, elapsed })
  return {
    find: (kid) => found(keys, (all) => all.get(kid) ?? null),
    async refresh() {
      await keys.refresh()
    },
  }
}

function keysIn(text: string): ReadonlyMap<string, VerifyingKey> {
  const { keys } = Object(JSON.parse(text)) as { keys?: unknown }
  const jwks = checkKeySet('keys', keys)
  const secret = jwks.find(isPrivate)
  if (secret !== undefined) throw new ConfigError(`keys ('${secret.kid}'): a secret key was published`)
  return new Map(jwks.map((jwk) => [jwk.kid, sound(jwk, verifyingKey)]))
}

/** Not read to its end when it is too long. */
async function body(response: Response): Promise<string> {
  const type = response.headers.get('content-type') ?? 'none'
  if (!response.ok || !contentType.test(type) || response.body === null) {
    await response.body?.cancel()
    throw new Error(`answered with status ${response.status} and content type ${type}`)
  }
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.length
    if (bytes > maxBytes) throw new Error(`answered with more than ${maxBytes} bytes`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

function checkUrl(input: string | URL, allowHttp: boolean): URL {
  const url = URL.canParse(String(input)) ? new URL(input) : null
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && (allowHttp || isLoopback(url.hostname)))) return url
  throw new ConfigError('url: expected https://, or http:// on this machine; elsewhere http:// needs allowHttp: true')
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}
