// Sealed credentials: the client holds the whole session, encrypted, and nobody else keeps anything of it.
import { seal, unseal } from '#cipher'
import { base64url, sha256 } from '#crypto'
import { ConfigError, DataError } from '../errors.ts'
import type { SessionRecord } from '../store.ts'
import { after } from './after.ts'
import { bytesOf } from './base64url.ts'
import { isSessionId, type Credentials, type Presented, type Tokens } from './credentials.ts'

/** What sessions are sealed with, and for which cookie. */
export interface SealedOptions {
  /**
   * Secrets of 32 characters or more, made at random (`openssl rand -base64 32`). The first one seals, every one opens: put a new
   * one first, and remove the old one when the sessions it sealed have run out. Two processes that accept each other's sessions
   * need the same ones.
   */
  readonly keys: string | readonly string[]
  /**
   * What the tokens are for, bound into each of them: one that was sealed for another name never opens. Default
   * `__Host-session`; say the cookie's name where it has another.
   */
  readonly name?: string | undefined
}

/** Node takes no more headers than that. What is longer is not looked at. */
const maxLength = 16_384
const form = /^v1\.([\w-]{8})\.([\w-]+)$/
/** In place of what other kinds keep in a record. */
const mark = 'sealed'

interface Key {
  readonly kid: string
  readonly bytes: Uint8Array
  /** Bound into what the key seals: the format, the key, the name. */
  readonly purpose: string
}

/**
 * Sessions without a store: the record, data and all, is in the token, `v1.<key>.<AES-256-GCM>`, which ends with the session.
 * Each change hands out a new one.
 *
 * What it can't do, because nobody keeps a list:
 * - A copy of a token, or an older state of the session, opens it until its `expiresAt`, or until its id is ended and a feed tells
 *   everyone so. Keep lifetimes short, and things that may happen only once (vouchers, attempts) elsewhere.
 * - Of requests that change the session at the same time the last answer wins, silently.
 * - Sessions can't be listed, counted or ended by user.
 * - Data is bounded by what cookies hold, about 9 KB of JSON.
 *
 * A key seals 2^32 tokens safely: the nonces are 96 random bits, and the odds that two are the same are then 1 in 2^33. A new key
 * every 30 days stays below that at 1,600 tokens per second.
 *
 * Throws `ConfigError` when a key is short or missing. Tokens of more than 16,384 characters are `data-too-large`.
 */
export function sealedCredentials({ keys, name = '__Host-session' }: SealedOptions): Credentials {
  const keyring = all(check(keys, name).map((secret) => derived(secret, name)))

  function tokens(record: SessionRecord): Tokens | Promise<Tokens> {
    return after(keyring, ([first]) => {
      const { kid, bytes, purpose } = first!
      return after(seal(bytes, written(record), purpose, unpredictable), (sealed) => {
        const token = `v1.${kid}.${sealed}`
        if (token.length > maxLength)
          throw new DataError('data-too-large', 'token', `the session does not fit into ${maxLength} characters`)
        return { token, refreshToken: null, expiresInMs: null }
      })
    })
  }

  return {
    kind: 'sealed',
    refresh: null,
    reissue: tokens,
    keeps: (kept) => kept === mark,
    async issue(random) {
      return { id: base64url(random(16)), kept: mark, tokens }
    },
    present(token, now) {
      if (token.length > maxLength) return null
      const [, kid, sealed] = form.exec(token) ?? []
      if (kid === undefined || sealed === undefined) return null
      return after(keyring, (every) => {
        const key = every.find((one) => one.kid === kid)
        if (key === undefined) return refused('unknown-key', null)
        return after(unseal(key.bytes, sealed, key.purpose), (text) => judged(text, now))
      })
    },
  }
}

/** Always the runtime's own: two tokens of one nonce would give the key's secrets away. */
function unpredictable(bytes: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(bytes))
}

/** A line of JSON, and what is JSON already as it is: quoted once more it would not fit into as few cookies. */
function written(record: SessionRecord): string {
  const { id, userId, identity, data, createdAt, seenAt, expiresAt, epoch, version } = record
  const head = [id, userId, createdAt, seenAt, expiresAt, epoch, version, identity.length]
  return `${JSON.stringify(head)}\n${identity}${data}`
}

function judged(text: string | null, now: number): Presented {
  if (text === null) return refused('signature', null)
  const known = read(text)
  if (known === null) return refused('malformed', null)
  const { id, createdAt, expiresAt } = known
  if (now >= expiresAt) return refused('expired', id)
  return { kind: 'proof', known, expiresAt, lifetimeMs: expiresAt - createdAt }
}

/** Sealed by us, but maybe by a release with another idea of what is in it. */
function read(text: string): SessionRecord | null {
  const end = text.indexOf('\n')
  const head = parsed(text.slice(0, Math.max(end, 0)))
  if (!Array.isArray(head) || head.length !== 8) return null
  const [id, userId, ...numbers] = head as unknown[]
  if (!isSessionId(id) || (userId !== null && typeof userId !== 'string') || !numbers.every(Number.isFinite))
    return null
  const [createdAt, seenAt, expiresAt, epoch, version, length] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const dataAt = end + 1 + length
  if (length < 0 || dataAt > text.length) return null
  const identity = text.slice(end + 1, dataAt)
  const data = text.slice(dataAt)
  return { id, userId, credential: mark, identity, data, createdAt, seenAt, expiresAt, epoch, version }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return null
  }
}

function refused(reason: 'signature' | 'unknown-key' | 'malformed' | 'expired', id: string | null): Presented {
  return { kind: 'refused', reason, id }
}

function check(keys: string | readonly string[], name: string): readonly string[] {
  const secrets = [keys].flat()
  if (secrets.length === 0) throw new ConfigError('keys: expected at least one')
  if (!secrets.every((secret) => typeof secret === 'string' && secret.length >= 32))
    throw new ConfigError('keys: expected 32 random characters or more each, such as of `openssl rand -base64 32`')
  if (typeof name !== 'string' || name === '') throw new ConfigError("name: expected the cookie's name")
  return secrets
}

function derived(secret: string, name: string): Key | Promise<Key> {
  const hash = (use: string) => sha256(JSON.stringify([`holdfast sealed v1 ${use}`, name, secret]))
  return after(hash('key'), (key) =>
    after(hash('kid'), (hashed) => {
      const bytes = bytesOf(key)!
      const kid = hashed.slice(0, 8)
      return { kid, bytes, purpose: JSON.stringify(['holdfast sealed', 'v1', kid, name]) }
    }),
  )
}

function all<T>(values: readonly (T | Promise<T>)[]): readonly T[] | Promise<readonly T[]> {
  return values.some((value) => value instanceof Promise) ? Promise.all(values) : (values as readonly T[])
}
