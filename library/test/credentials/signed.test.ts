// Signed credentials as sessions use them: options, refresh tokens, and what keys do to them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Rotation } from '../../src/credentials/credentials.ts'
import { staticKeys, type VerifyingKeys } from '../../src/credentials/keys.ts'
import { opaqueCredentials } from '../../src/credentials/opaque.ts'
import { generationOf } from '../../src/credentials/refresh-token.ts'
import { signedCredentials, type SignedOptions } from '../../src/credentials/signed.ts'
import { ConfigError, StoreUnavailableError } from '../../src/errors.ts'
import { fakeRandom, record } from '../fixtures.ts'
import { privateKey, random } from './signed-fixtures.ts'

const now = Date.UTC(2026, 0, 1)
const options: SignedOptions = {
  issuer: 'https://accounts.example',
  audience: 'https://shop.example',
  keys: staticKeys({ keys: [privateKey('EdDSA')] }),
}
const credentials = signedCredentials(options)
const refresh = credentials.refresh!

/** A session's beginning, as its client and the store have it. */
async function begun(seed = 1) {
  const { id, kept, tokens } = await credentials.issue(fakeRandom(seed))
  return { id, kept, token: (await tokens(record({ id }))).refreshToken! }
}

type Given = Extract<Rotation, { kept: string }>

async function rotate(token: string, kept: string, at = now) {
  return refresh.rotate(token, kept, at, random)
}

/** What the client and the store have after it. */
async function next(token: string, kept: string, at = now) {
  const rotation = await rotate(token, kept, at)
  assert.ok(rotation.outcome === 'rotated', rotation.outcome)
  return { kept: rotation.kept, token: (await given(rotation, at)).refreshToken! }
}

async function given(rotation: Rotation, at = now) {
  return (rotation as Given).tokens(record({ seenAt: at, expiresAt: at + 3_600_000 }))
}

test('each wrong option is named', () => {
  const bad: readonly (readonly [Partial<Record<keyof SignedOptions, unknown>>, RegExp])[] = [
    [{ issuer: '' }, /^issuer/],
    [{ issuer: undefined }, /^issuer/],
    [{ issuer: ['a'] }, /^issuer/],
    [{ audience: '' }, /^audience/],
    [{ audience: [] }, /^audience/],
    [{ audience: ['a', ''] }, /^audience/],
    [{ audience: undefined }, /^audience/],
    [{ clientId: '' }, /^clientId/],
    [{ keys: undefined }, /^keys/],
    [{ keys: {} }, /^keys/],
    [{ lifetime: '500ms' }, /^lifetime/],
    [{ lifetime: 'soon' }, /^lifetime/],
    [{ refreshWindow: 'soon' }, /^refreshWindow/],
    [{ clockTolerance: '0s' }, /^clockTolerance/],
  ]
  for (const [o, message] of bad) {
    const made = () => signedCredentials({ ...options, ...o } as SignedOptions)
    assert.throws(made, (error: unknown) => error instanceof ConfigError && message.test(error.message))
  }
})

test('a refresh token has 128 random bits of id, 128 of family, 256 of secret, of which the store gets hashes', async () => {
  const { id, kept, token } = await begun()
  assert.match(token, /^[\w-]{22}\.[\w-]{22}\.[\w-]{43}$/)
  assert.equal(refresh.read(token), id)
  const [, family, secret] = token.split('.') as [string, string, string]
  assert.ok(!kept.includes(family) && !kept.includes(secret))
  assert.equal(generationOf(kept), 1)
  const after = await next(token, kept)
  const [, sameFamily, newSecret] = after.token.split('.') as [string, string, string]
  assert.equal(sameFamily, family)
  assert.notEqual(newSecret, secret)
  for (const part of [family, secret, newSecret]) assert.ok(!after.kept.includes(part))
  assert.equal(generationOf(after.kept), 2)
})

test('what is kept is told from what other kinds keep', async () => {
  const { kept, token } = await begun()
  const opaque = await opaqueCredentials().issue(random)
  assert.deepEqual(
    [credentials.keeps(kept), credentials.keeps(opaque.kept), credentials.keeps('')],
    [true, false, false],
  )
  assert.equal(opaqueCredentials().keeps(kept), false)
  assert.equal(credentials.keeps((await next(token, kept)).kept), true)
  assert.equal(generationOf(opaque.kept), null)
})

test('tokens of other forms are no refresh tokens', async () => {
  const { id, token } = await begun()
  const { token: access } = await credentials.issue(random).then(({ tokens }) => tokens(record()))
  for (const bad of [
    '',
    id,
    `${id}.${'s'.repeat(43)}`,
    access,
    `${token}.`,
    ` ${token}`,
    `${token}\n`,
    token.slice(0, -1),
    `${token}A`,
  ])
    assert.equal(refresh.read(bad), null, bad)
  assert.equal(credentials.present(`${id}.${'s'.repeat(43)}`, now), null)
  assert.deepEqual(credentials.present(token, now), { kind: 'refused', reason: 'malformed', id: null })
})

test('E1: the current token gives the next, and a new access token for the session as it is now', async () => {
  const { kept, token } = await begun()
  const rotation = await rotate(token, kept, now + 60_000)
  assert.equal(rotation.outcome, 'rotated')
  const tokens = await given(rotation, now + 60_000)
  assert.equal(tokens.expiresInMs, 300_000)
  const presented = await credentials.present(tokens.token, now + 60_000)
  assert.equal(presented?.kind === 'proof' && presented.known.seenAt, now + 60_000)
})

test('E3: the immediate predecessor gives the same successor inside the window, on both edges of it', async () => {
  const first = await begun()
  const second = await next(first.token, first.kept, now)
  for (const at of [now, now + 10_000, now - 10_000]) {
    const rotation = await rotate(first.token, second.kept, at)
    assert.equal(rotation.outcome, 'repeated')
    assert.equal((rotation as Given).kept, second.kept)
    const tokens = await given(rotation, at)
    assert.equal(tokens.refreshToken, second.token)
    const presented = await credentials.present(tokens.token, at)
    assert.equal(presented?.kind === 'proof' && presented.known.seenAt, at)
  }
  for (const at of [now + 10_001, now - 10_001, now + 86_400_000])
    assert.deepEqual(await rotate(first.token, second.kept, at), { outcome: 'reused' })
})

test('E3: an older one than the predecessor ends the session at once, inside the window too', async () => {
  const first = await begun()
  const second = await next(first.token, first.kept)
  const third = await next(second.token, second.kept)
  assert.deepEqual(await rotate(first.token, third.kept), { outcome: 'reused' })
  assert.equal((await rotate(second.token, third.kept)).outcome, 'repeated')
})

test('who knows an id, and not the family, ends nothing', async () => {
  const { id, kept, token } = await begun(1)
  const other = await begun(2)
  const [, family, secret] = token.split('.') as [string, string, string]
  const strangers = [
    `${id}.${'A'.repeat(22)}.${'A'.repeat(43)}`,
    `${id}.${'A'.repeat(22)}.${secret}`,
    other.token,
    `${id}.${other.token.slice(23)}`,
  ]
  for (const stranger of strangers) assert.deepEqual(await rotate(stranger, kept), { outcome: 'mismatch' })
  assert.deepEqual(await rotate(`${id}.${family}.${'A'.repeat(43)}`, kept), { outcome: 'reused' })
  const opaque = await opaqueCredentials().issue(random)
  for (const alien of [opaque.kept, '', 's1.', 's1.a.b'])
    assert.deepEqual(await rotate(token, alien), { outcome: 'mismatch' })
})

test('the store can not make the successor that it keeps', async () => {
  const first = await begun()
  const { kept } = await next(first.token, first.kept)
  // All that is in the store: guesses made of it open nothing.
  for (const guess of kept.split('.').filter((part) => part.length === 43)) {
    const [id, family] = first.token.split('.') as [string, string]
    const rotation = await rotate(`${id}.${family}.${guess}`, kept)
    assert.equal(rotation.outcome, 'reused')
  }
})

test('a successor that was sealed for another session, or changed, is not given out', async () => {
  const [a, b] = [await begun(1), await begun(2)]
  const [after, other] = [await next(a.token, a.kept), await next(b.token, b.kept)]
  const [mine, theirs] = [after.kept.split('.'), other.kept.split('.')]
  mine[4] = theirs[4]!
  assert.deepEqual(await rotate(a.token, mine.join('.')), { outcome: 'reused' })
  assert.deepEqual(await rotate(a.token.replace(a.id, b.id), after.kept), { outcome: 'reused' })
})

test('every character of what is kept of a secret counts, and how many there are', async () => {
  const { kept, token } = await begun()
  const parts = kept.split('.')
  for (const [at, outcome] of [
    [1, 'mismatch'],
    [3, 'reused'],
  ] as const) {
    const hash = parts[at]!
    const changed = Array.from(hash, (c, i) => hash.slice(0, i) + (c === 'A' ? 'B' : 'A') + hash.slice(i + 1))
    for (const other of [...changed, hash.slice(0, -1), `${hash}A`, ''])
      assert.deepEqual(await rotate(token, parts.with(at, other).join('.')), { outcome })
  }
})

test('whatever comes in whatever order: one successor per generation, and only what the rules say', async () => {
  const step = fc.record({ pick: fc.nat({ max: 5 }), waitMs: fc.constantFrom(0, 1, 9_000, 11_000) })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const first = await begun()
      const given: string[] = [first.token]
      let { kept } = first
      let rotatedAt = -Infinity
      let at = now
      for (const { pick, waitMs } of steps) {
        at += waitMs
        const generation = Math.max(given.length - pick, 1)
        const rotation = await rotate(given[generation - 1]!, kept, at)
        const age = given.length - generation
        const expected = age === 0 ? 'rotated' : age === 1 && at - rotatedAt <= 10_000 ? 'repeated' : 'reused'
        assert.equal(rotation.outcome, expected)
        if (rotation.outcome === 'rotated') {
          kept = rotation.kept
          given.push((await rotation.tokens(record())).refreshToken!)
          rotatedAt = at
        } else if (rotation.outcome === 'repeated') {
          assert.equal((await rotation.tokens(record())).refreshToken, given.at(-1))
        }
        assert.equal(generationOf(kept), given.length)
      }
      assert.equal(new Set(given).size, given.length)
    }),
    { numRuns: 60 },
  )
})

test('keys that only verify issue nothing, and say so', async () => {
  const keys: VerifyingKeys = { find: () => null }
  const verifying = signedCredentials({ ...options, keys })
  assert.equal(verifying.refresh, null)
  const { tokens } = await verifying.issue(random)
  await assert.rejects(async () => tokens(record()), ConfigError)
})

test('a key that can not be looked up is an outage, and none that is unknown', async () => {
  const down = new StoreUnavailableError('away', 500)
  const away = signedCredentials({ ...options, keys: { find: () => Promise.reject(down) } })
  const { token } = await (await credentials.issue(random)).tokens(record())
  await assert.rejects(async () => away.present(token, now), down)
  const late = signedCredentials({ ...options, keys: { find: async (kid) => options.keys.find(kid) } })
  assert.equal((await late.present(token, record().seenAt))?.kind, 'proof')
})

test('told that the keys changed, it asks anew, and bears that it fails', async () => {
  let asked = 0
  const keys: VerifyingKeys = {
    find: () => null,
    async refresh() {
      asked++
      throw new Error('away')
    },
  }
  await signedCredentials({ ...options, keys }).keysChanged!()
  await credentials.keysChanged!()
  assert.equal(asked, 1)
})
