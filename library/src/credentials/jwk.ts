// JSON Web Keys (RFC 7517): what a key must be before anything is signed or verified with it.
import { ConfigError } from '../errors.ts'
import { bytesOf } from './base64url.ts'

export type Algorithm = 'EdDSA' | 'ES256' | 'RS256' | 'PS256' | 'HS256'

/** A key that was checked, with nothing in it but what it takes to use it. A secret where it has private members. */
export interface Jwk {
  readonly kid: string
  /** The one algorithm it is for. */
  readonly alg: Algorithm
  readonly kty: string
  /** The rest, all in base64url but `crv`. */
  readonly [member: string]: string
}

/** RFC 7517, section 5. */
export interface JwkSet {
  readonly keys: readonly Jwk[]
}

interface Form {
  readonly kty: string
  readonly crv?: string
  readonly publicMembers: readonly string[]
  readonly privateMembers: readonly string[]
}

const rsa = { kty: 'RSA', publicMembers: ['n', 'e'], privateMembers: ['d', 'p', 'q', 'dp', 'dq', 'qi'] }
const forms: Readonly<Record<Algorithm, Form>> = {
  EdDSA: { kty: 'OKP', crv: 'Ed25519', publicMembers: ['x'], privateMembers: ['d'] },
  ES256: { kty: 'EC', crv: 'P-256', publicMembers: ['x', 'y'], privateMembers: ['d'] },
  RS256: rsa,
  PS256: rsa,
  HS256: { kty: 'oct', publicMembers: [], privateMembers: ['k'] },
}

/** Whether it can sign. */
export function isPrivate(jwk: Jwk): boolean {
  return forms[jwk.alg].privateMembers.every((member) => member in jwk)
}

/** What may be shown to everyone; `null` where the key is all secret. */
export function publicJwk(jwk: Jwk): Jwk | null {
  const form = forms[jwk.alg]
  return form.publicMembers.length === 0 ? null : picked(jwk, form, form.publicMembers)
}

/** `ConfigError`, naming the key, unless all are sound and they go together. */
export function checkKeySet(option: string, jwks: unknown): readonly Jwk[] {
  if (!Array.isArray(jwks) || jwks.length === 0) throw new ConfigError(`${option}: expected one JSON Web Key or more`)
  const checked = jwks.map((jwk, at) => checkKey(`${option}[${at}]`, jwk))
  const kids = new Set(checked.map(({ kid }) => kid))
  if (kids.size < checked.length) throw new ConfigError(`${option}: two keys have the same kid`)
  const symmetric = checked.filter(({ kty }) => kty === 'oct').length
  // Who is handed both may take a public key for a secret one.
  if (symmetric > 0 && symmetric < checked.length)
    throw new ConfigError(`${option}: symmetric and asymmetric keys in one set; use one kind`)
  return checked
}

function checkKey(where: string, input: unknown): Jwk {
  const jwk = input !== null && typeof input === 'object' ? (input as Readonly<Record<string, unknown>>) : {}
  const { kid, alg } = jwk
  if (typeof kid !== 'string' || kid === '') throw new ConfigError(`${where}: kid is missing`)
  const wrong = (what: string) => new ConfigError(`${where} ('${kid}'): ${what}`)
  if (typeof alg !== 'string' || !Object.hasOwn(forms, alg))
    throw wrong(`alg: expected one of ${Object.keys(forms).join(', ')}`)
  const form = forms[alg as Algorithm]
  const { kty, crv, publicMembers, privateMembers } = form
  if (jwk['kty'] !== kty) throw wrong(`kty: ${alg} is for ${kty} keys`)
  if (crv !== undefined && jwk['crv'] !== crv) throw wrong(`crv: ${alg} is for ${crv}`)
  const isSecret = privateMembers.some((member) => member in jwk) || kty === 'oct'
  const members = isSecret ? [...publicMembers, ...privateMembers] : publicMembers
  for (const member of members) {
    const bytes = binary(jwk, member)
    if (bytes === null) throw wrong(`${member}: expected base64url`)
    if (crv !== undefined && bytes.length !== 32) throw wrong(`${member}: expected 32 bytes`)
  }
  if (kty === 'oct' && binary(jwk, 'k')!.length < 32) throw wrong('k: expected 32 random bytes or more')
  if (kty === 'RSA') checkRsa(binary(jwk, 'n')!, binary(jwk, 'e')!, wrong)
  checkUse(jwk, isSecret, wrong)
  return picked(jwk, form, members)
}

function checkRsa(n: Uint8Array, e: Uint8Array, wrong: (what: string) => ConfigError): void {
  const bits = n.length * 8 - (Math.clz32(n[0] ?? 0) - 24)
  if (bits < 2048 || n[0] === 0) throw wrong('n: expected 2048 bits or more')
  const isOdd = ((e.at(-1) ?? 0) & 1) === 1
  if (!isOdd || e[0] === 0 || (e.length === 1 && e[0]! < 3)) throw wrong('e: expected an odd number, 3 or more')
}

/** RFC 7517, sections 4.2 and 4.3: what it says it is for must be what it is used for. */
function checkUse(jwk: Readonly<Record<string, unknown>>, isSecret: boolean, wrong: (what: string) => ConfigError) {
  const { use, key_ops: operations } = jwk
  if (use !== undefined && use !== 'sig') throw wrong("use: expected 'sig'")
  if (operations === undefined) return
  const allowed = isSecret ? ['sign', 'verify'] : ['verify']
  const fits = Array.isArray(operations) && operations.every((operation) => allowed.includes(operation as string))
  if (!fits || !operations.includes(allowed[0])) throw wrong(`key_ops: expected ${allowed.join(', ')}`)
}

function binary(jwk: Readonly<Record<string, unknown>>, member: string): Uint8Array | null {
  const text = jwk[member]
  return typeof text === 'string' && text !== '' ? bytesOf(text) : null
}

function picked(jwk: Readonly<Record<string, unknown>>, { crv }: Form, members: readonly string[]): Jwk {
  const all = ['kid', 'alg', 'kty', ...(crv === undefined ? [] : ['crv']), ...members]
  return Object.fromEntries(all.map((member) => [member, jwk[member]])) as unknown as Jwk
}
