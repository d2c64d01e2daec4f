import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { staticKeys } from '../../src/credentials/keys.ts'
import { ConfigError } from '../../src/errors.ts'
import { algorithms, privateKey, publicKey } from './signed-fixtures.ts'

const ed = privateKey('EdDSA')
const rsa = publicKey('RS256')
const secret = privateKey('HS256')

function rsaOf(modulusLength: number) {
  return {
    ...generateKeyPairSync('rsa', { modulusLength }).privateKey.export({ format: 'jwk' }),
    kid: 'short',
    alg: 'RS256',
  }
}

function ecOf(namedCurve: string) {
  return {
    ...generateKeyPairSync('ec', { namedCurve }).privateKey.export({ format: 'jwk' }),
    kid: 'curve',
    alg: 'ES256',
  }
}

const bytes = (text: string) => Buffer.from(text, 'base64url')
const b64 = (data: Uint8Array) => Buffer.from(data).toString('base64url')

const unsound: readonly (readonly [what: string, keys: unknown, message: RegExp])[] = [
  ['no keys', [], /^keys: expected one/],
  ['no list', {}, /^keys: expected one/],
  ['no object', [null], /^keys\[0\]: kid is missing/],
  ['no kid', [{ ...ed, kid: undefined }], /^keys\[0\]: kid is missing/],
  ['an empty kid', [{ ...ed, kid: '' }], /kid is missing/],
  ['a kid that is no string', [{ ...ed, kid: 1 }], /kid is missing/],
  ['no alg', [{ ...ed, alg: undefined }], /'EdDSA-1'\): alg: expected one of/],
  ['alg none', [{ ...ed, alg: 'none' }], /alg: expected one of/],
  ['alg of Object', [{ ...ed, alg: 'constructor' }], /alg: expected one of/],
  ['another type than the algorithm', [{ ...ed, alg: 'RS256' }], /kty: RS256 is for RSA keys/],
  ['another curve than the algorithm', [{ ...ed, crv: 'X25519' }], /crv: EdDSA is for Ed25519/],
  ['P-384 for ES256', [ecOf('P-384')], /crv: ES256 is for P-256/],
  ['P-384 that says P-256', [{ ...ecOf('P-384'), crv: 'P-256' }], /x: expected 32 bytes/],
  ['secp256k1 that says P-256', [{ ...ecOf('secp256k1'), crv: 'P-256' }], /not a valid ES256 key/],
  ['a point that is on no curve', [{ ...publicKey('ES256'), y: publicKey('ES256')['x'] }, ed], /not a valid ES256 key/],
  ['no x', [{ ...ed, x: undefined }], /x: expected base64url/],
  ['base64url in another spelling', [{ ...ed, x: `${ed['x']}=` }], /x: expected base64url/],
  ['a short private part', [{ ...ed, d: b64(randomBytes(31)) }], /d: expected 32 bytes/],
  ['half of a private RSA key', [{ ...privateKey('RS256'), p: undefined }], /p: expected base64url/],
  ['RSA of 1024 bits', [rsaOf(1024)], /n: expected 2048 bits or more/],
  ['RSA of 2047 bits', [{ ...rsa, n: b64(Buffer.concat([Buffer.of(0x7f), bytes(rsa['n']!).subarray(1)])) }], /2048/],
  ['RSA filled up with zeros', [{ ...rsa, n: b64(Buffer.concat([Buffer.of(0), bytes(rsa['n']!)])) }], /2048/],
  ['RSA with e = 1', [{ ...rsa, e: 'AQ' }], /e: expected an odd number, 3 or more/],
  ['RSA with e = 1, filled up with zeros', [{ ...rsa, e: 'AAAB' }], /e: expected an odd number/],
  ['RSA with e = 2', [{ ...rsa, e: 'Ag' }], /e: expected an odd number/],
  ['RSA with an even e', [{ ...rsa, e: b64(Buffer.of(1, 0, 0)) }], /e: expected an odd number/],
  ['a secret of 31 bytes', [{ ...secret, k: b64(randomBytes(31)) }], /k: expected 32 random bytes/],
  ['a secret that is none', [{ ...secret, k: undefined }], /k: expected base64url/],
  ['two keys of one kid', [ed, { ...privateKey('ES256'), kid: ed.kid }], /two keys have the same kid/],
  ['symmetric and asymmetric keys', [ed, secret], /symmetric and asymmetric/],
  ['a key to encrypt with', [{ ...ed, use: 'enc' }], /use: expected 'sig'/],
  ['a private key that may only verify', [{ ...ed, key_ops: ['verify'] }], /key_ops: expected sign, verify/],
  ['a public key that may sign', [ed, { ...rsa, key_ops: ['sign'] }], /key_ops: expected verify/],
  ['a key for something else too', [{ ...ed, key_ops: ['sign', 'deriveKey'] }], /key_ops/],
  ['key_ops that are no list', [{ ...ed, key_ops: 'sign' }], /key_ops/],
  ['none that can sign', [publicKey('EdDSA')], /none of them can sign/],
]

for (const [what, keys, message] of unsound) {
  test(`refused at the start: ${what}`, () => {
    assert.throws(
      () => staticKeys({ keys: keys as object[] }),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, message)
        for (const part of [ed['d']!, secret['k']!, privateKey('RS256')['d']!]) assert.ok(!error.message.includes(part))
        return true
      },
    )
  })
}

test('the first key that can sign does, or the one that is named', () => {
  const keys = [publicKey('RS256'), privateKey('ES256'), ed]
  assert.equal(kidOf(staticKeys({ keys })), 'ES256-1')
  assert.equal(kidOf(staticKeys({ keys, signWith: 'EdDSA-1' })), 'EdDSA-1')
  assert.throws(() => staticKeys({ keys, signWith: 'RS256-1' }), /signWith: 'RS256-1' is no key that can sign/)
  assert.throws(() => staticKeys({ keys, signWith: 'nobody' }), ConfigError)
})

function kidOf(keys: ReturnType<typeof staticKeys>): string {
  const current = keys.current()
  assert.ok(!(current instanceof Promise))
  return current.kid
}

test('keys are found by their name alone, which is a text and nothing else', () => {
  const keys = staticKeys({ keys: [ed, privateKey('ES256')] })
  for (const kid of ['EdDSA-1', 'ES256-1']) assert.equal((keys.find(kid) as { kid: string }).kid, kid)
  for (const kid of ['', '__proto__', 'constructor', '../EdDSA-1', "' or 1=1", 'EdDSA-1\0'])
    assert.equal(keys.find(kid), null)
})

test('what is published has no private part and no secret, and nothing but what it takes to verify', async () => {
  const asymmetric = algorithms
    .filter((alg) => alg !== 'HS256')
    .map((alg) => ({ ...privateKey(alg), x5u: 'https://evil' }))
  const { keys } = await staticKeys({ keys: asymmetric }).jwks()
  const publicMembers = { EdDSA: ['crv', 'x'], ES256: ['crv', 'x', 'y'], RS256: ['e', 'n'], PS256: ['e', 'n'] }
  assert.equal(keys.length, asymmetric.length)
  for (const jwk of keys) {
    const members = publicMembers[jwk.alg as keyof typeof publicMembers]
    assert.deepEqual(Object.keys(jwk).toSorted(), ['alg', 'kid', 'kty', ...members].toSorted())
    assert.equal(createPublicKey({ key: { ...jwk }, format: 'jwk' }).type, 'public')
  }
  assert.deepEqual(await staticKeys({ keys: [secret] }).jwks(), { keys: [] })
})

test('keys that say truly what they are for are taken', () => {
  staticKeys({ keys: [{ ...ed, use: 'sig', key_ops: ['sign', 'verify'], ext: true, x5c: ['MII'] }] })
  staticKeys({
    keys: [
      { ...ed, key_ops: ['sign'] },
      { ...rsa, key_ops: ['verify'] },
    ],
  })
  staticKeys({ keys: [ed, { ...rsa, e: 'Aw' }] })
})
