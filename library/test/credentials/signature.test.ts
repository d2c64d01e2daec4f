import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compactVerify, CompactSign, importJWK } from 'jose'
import { algorithms, privateKey, publicKey, runtimes } from './signed-fixtures.ts'

const payload = JSON.stringify({ text: 'ä€😀', n: 1 })

/** What `verify` is given of a token. */
function halves(token: string): readonly [signed: string, signature: string] {
  const at = token.lastIndexOf('.')
  return [token.slice(0, at), token.slice(at + 1)]
}

for (const [name, { signing, verifying }] of Object.entries(runtimes)) {
  for (const alg of algorithms) {
    test(`${name}, ${alg}: what it signs every implementation verifies, jose too`, async () => {
      const token = await signing(privateKey(alg)).sign('at+jwt', payload)
      for (const other of Object.values(runtimes)) {
        assert.equal(await other.verifying(publicKey(alg)).verify(...halves(token)), true)
        assert.equal(await other.signing(privateKey(alg)).verify(...halves(token)), true)
      }
      const read = await compactVerify(token, await importJWK({ ...publicKey(alg) }, alg), { algorithms: [alg] })
      assert.equal(Buffer.from(read.payload).toString(), payload)
      assert.deepEqual(read.protectedHeader, { alg, typ: 'at+jwt', kid: `${alg}-1` })
    })

    test(`${name}, ${alg}: what jose signs it verifies`, async () => {
      const token = await new CompactSign(Buffer.from(payload))
        .setProtectedHeader({ alg })
        .sign(await importJWK({ ...privateKey(alg) }, alg))
      assert.equal(await verifying(publicKey(alg)).verify(...halves(token)), true)
    })

    test(`${name}, ${alg}: a changed text, another signature, a shorter or longer one verify nothing`, async () => {
      const { verify } = verifying(publicKey(alg))
      const [signed, signature] = halves(await signing(privateKey(alg)).sign('at+jwt', payload))
      const bytes = Buffer.from(signature, 'base64url')
      const encoded = (b: Buffer) => b.toString('base64url')
      const flipped = (at: number) => Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)))
      assert.equal(await verify(signed, signature), true)
      assert.equal(await verify(`${signed.slice(0, -1)}${signed.endsWith('A') ? 'Q' : 'A'}`, signature), false)
      for (const bad of [
        '',
        encoded(bytes.subarray(0, -1)),
        encoded(Buffer.concat([bytes, Buffer.of(0)])),
        encoded(Buffer.alloc(bytes.length)),
        encoded(flipped(0)),
        encoded(flipped(bytes.length - 1)),
      ])
        assert.equal(await verify(signed, bad), false, bad)
    })
  }

  test(`${name}: no key verifies what another one signed, of whatever algorithm`, async () => {
    for (const alg of algorithms) {
      const token = await signing(privateKey(alg)).sign('at+jwt', payload)
      for (const other of algorithms)
        assert.equal(await verifying(publicKey(other)).verify(...halves(token)), other === alg, `${alg}, ${other}`)
    }
  })

  test(`${name}: the same key for another algorithm verifies nothing`, async () => {
    const token = await signing(privateKey('RS256')).sign('at+jwt', payload)
    const asPss = { ...publicKey('RS256'), alg: 'PS256' as const }
    assert.equal(await verifying(asPss as never).verify(...halves(token)), false)
  })

  test(`${name}: no string makes it throw`, async () => {
    for (const alg of algorithms) {
      const { verify } = verifying(publicKey(alg))
      await fc.assert(
        fc.asyncProperty(fc.string(), fc.base64String(), async (signed, signature) => {
          assert.equal(await verify(signed, signature), false)
        }),
        { numRuns: 30 },
      )
    }
  })
}

test('web: with a key that is none nothing verifies, and signing rejects', async () => {
  const off = { ...publicKey('ES256'), y: publicKey('ES256')['x']! } as never
  assert.equal(await runtimes.web.verifying(off).verify('a.b', 'AAAA'), false)
  await assert.rejects(async () => runtimes.web.signing({ ...privateKey('ES256'), y: 'AAAA' } as never).sign('t', '{}'))
})

test('on Node nothing waits', () => {
  const key = runtimes.node.signing(privateKey('EdDSA'))
  const token = key.sign('at+jwt', payload)
  assert.ok(typeof token === 'string')
  assert.equal(key.verify(...halves(token)), true)
})

test('ES256: signatures whose numbers begin with zeros verify like all others', async () => {
  const { verifying } = runtimes.node!
  const [key, signer] = [verifying(publicKey('ES256')), runtimes.node!.signing(privateKey('ES256'))]
  for (let i = 0, short = 0; short < 4; i++) {
    const [signed, signature] = halves(await signer.sign('at+jwt', String(i)))
    const bytes = Buffer.from(signature, 'base64url')
    if (bytes[0] === 0 || bytes[32] === 0) short++
    assert.equal(await key.verify(signed, signature), true)
    bytes[i % 64]! ^= 1
    assert.equal(await key.verify(signed, bytes.toString('base64url')), false)
  }
})
