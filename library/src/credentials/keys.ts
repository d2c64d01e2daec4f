// Keys that tokens are signed and verified with, and the keys of a configuration.
import { signing, verifying } from '#signature'
import { ConfigError } from '../errors.ts'
import { checkKeySet, isPrivate, publicJwk, type Algorithm, type Jwk, type JwkSet } from './jwk.ts'

export interface VerifyingKey {
  readonly kid: string
  /** The one algorithm it verifies, whatever a token says. */
  readonly alg: Algorithm
  /** Whether `signature` is this key's over `signed`; both as they are in the token. */
  verify(signed: string, signature: string): boolean | Promise<boolean>
}

export interface SigningKey extends VerifyingKey {
  /** A compact token of that `typ` over `payload`. */
  sign(typ: string, payload: string): string | Promise<string>
}

/** Where the keys come from that tokens are verified with. Rejects with `StoreUnavailableError` when that can't be known. */
export interface VerifyingKeys {
  /** The key of that name, at once where it is known; `null` when there is none. `kid` is a stranger's text. */
  find(kid: string): VerifyingKey | null | Promise<VerifyingKey | null>
  /** Asks anew, because the keys changed. Rejects when that fails, and what was known before is kept. */
  refresh?(): Promise<void>
}

/** Keys that also sign. */
export interface SigningKeys extends VerifyingKeys {
  /** The key to sign with now. */
  current(): SigningKey | Promise<SigningKey>
  /** The public keys, for everyone. Symmetric ones are never in it. */
  jwks(): JwkSet | Promise<JwkSet>
}

export function canSign(keys: SigningKeys | VerifyingKeys): keys is SigningKeys {
  return 'current' in keys
}

/** The keys of a configuration. */
export interface StaticKeysOptions {
  /**
   * JSON Web Keys with `kid` and `alg`: Ed25519 (`EdDSA`), P-256 (`ES256`), RSA of 2048 bits or more (`RS256`, `PS256`), or secrets of 32
   * bytes or more (`HS256`). Public ones verify, private ones sign as well.
   */
  readonly keys: readonly object[]
  /** The `kid` of the key that signs. Default: the first that can. */
  readonly signWith?: string | undefined
}

/**
 * The keys of a configuration, the same until the next start. To change keys without a restart use `keyring`.
 *
 * Throws `ConfigError`, naming the key, when one is unsound: too short, of another curve than its algorithm, for another use, without
 * `kid` or `alg`; when two have the same `kid`; when symmetric and asymmetric ones are mixed; or when none can sign.
 */
export function staticKeys({ keys, signWith }: StaticKeysOptions): SigningKeys {
  const jwks = checkKeySet('keys', keys)
  const all = new Map(jwks.map((jwk) => [jwk.kid, sound(jwk, isPrivate(jwk) ? signingKey : verifyingKey)]))
  const published: JwkSet = { keys: jwks.flatMap((jwk) => publicJwk(jwk) ?? []) }
  const signer = jwks.find((jwk) => isPrivate(jwk) && (signWith === undefined || jwk.kid === signWith))
  if (signer === undefined)
    throw new ConfigError(
      signWith === undefined ? 'keys: none of them can sign' : `signWith: '${signWith}' is no key that can sign`,
    )
  const current = all.get(signer.kid) as SigningKey
  return { find: (kid) => all.get(kid) ?? null, current: () => current, jwks: () => published }
}

export function verifyingKey(jwk: Jwk): VerifyingKey {
  const { kid, alg } = jwk
  return { kid, alg, verify: verifying(jwk) }
}

export function signingKey(jwk: Jwk): SigningKey {
  const { kid, alg } = jwk
  const sign = signing(jwk)
  return { kid, alg, verify: verifying(jwk), sign: (typ, payload) => sign({ alg, typ, kid }, payload) }
}

/** The runtime has the last word, such as on whether a point is on its curve. */
export function sound<Key>(jwk: Jwk, make: (jwk: Jwk) => Key): Key {
  try {
    return make(jwk)
  } catch {
    throw new ConfigError(`keys ('${jwk.kid}'): not a valid ${jwk.alg} key`)
  }
}
