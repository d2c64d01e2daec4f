// `npm run bench:verify`: one verification in process. From the cache, beside fast-jwt's cache and the least it can cost; and the
// first one of a signed token, beside the bare check of its signature and jose. Options: --rounds 7 --write
import { createHmac, hash, timingSafeEqual, verify, constants, type KeyObject } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createVerifier } from 'fast-jwt'
import { cookieTransport, createSessions, opaqueCredentials, type Credentials } from 'holdfast'
import { sealedCredentials } from 'holdfast/credentials/sealed'
import { memoryFeed } from 'holdfast/feeds/memory'
import { memoryStore } from 'holdfast/stores/memory'
import { jwtVerify } from 'jose'
import { costs, type Step } from './harness/cost.ts'
import { amr, person, roles } from './harness/person.ts'
import { heading, median, provenance, publish, round, save, table } from './harness/report.ts'
import { algorithms, audience, issuer, signing, type Algorithm } from './harness/tokens.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '7' }, write: { type: 'boolean', default: false } },
})
const rounds = Number(values.rounds)
const sessionCount = 1000
/** Of each algorithm. More than a branch predictor learns, few enough to sign. */
const tokenCount = 200

const cached = await fromTheCache()
const first = await theFirstTime()
const text = `${cached.markdown}\n\n${first.markdown}\n\n${provenance(heading(null))}; ${rounds} rounds.`
console.log(text)
save('verify', { ...heading(null), options: { rounds }, cached: cached.results, first: first.results })
if (values.write) publish('verify', text)
process.exit()

async function fromTheCache() {
  const eddsa = signing('EdDSA')
  const opaque = await filled(opaqueCredentials())
  const signed = await filled(eddsa.credentials)
  const sealed = await filled(sealedCredentials({ keys: 'a secret of the bench, and of nothing else' }))
  const fastJwt = (cache: number | false) =>
    createVerifier({
      key: eddsa.publicKey.export({ type: 'spki', format: 'pem' }),
      algorithms: ['EdDSA'],
      allowedIss: issuer,
      allowedAud: audience,
      cache,
    })
  const fastJwtCached = fastJwt(sessionCount)
  const fastJwtUncached = fastJwt(false)

  const transport = cookieTransport()
  const cookies = opaque.tokens.map((token) => `theme=dark; __Host-session=${token}; lang=en`)
  const byDigest = new Map(opaque.tokens.map((token) => [hash('sha256', token, 'base64url'), person(0)]))
  const opaqueToken = inTurn(opaque.tokens)
  const signedToken = inTurn(signed.tokens)
  const sealedToken = inTurn(sealed.tokens)
  const cookie = inTurn(cookies)
  const calls = 100_000
  const steps: readonly Step[] = [
    { name: '**Holdfast, opaque**', run: () => opaque.sessions.open(opaqueToken()), calls },
    { name: '**Holdfast, signed**', run: () => signed.sessions.open(signedToken()), calls },
    { name: '**Holdfast, sealed**', run: () => sealed.sessions.open(sealedToken()), calls },
    { name: 'fast-jwt, its cache on', run: () => fastJwtCached(signedToken()) as unknown, calls },
    { name: 'fast-jwt', run: () => fastJwtUncached(signedToken()) as unknown, calls: 2_000 },
    { name: 'nothing, awaited', run: () => undefined, calls },
    { name: 'find the cookie', run: () => transport.extract(fromHeader(cookie())), calls },
    { name: 'SHA-256', run: () => hash('sha256', opaqueToken(), 'base64url'), calls },
    {
      name: 'SHA-256 and a Map lookup',
      run: () => byDigest.get(hash('sha256', opaqueToken(), 'base64url')),
      calls,
    },
  ]
  const missesBefore = [opaque, signed, sealed].map(({ sessions }) => sessions.status()!.misses)
  const measured = await costs(steps, rounds)
  const missesAfter = [opaque, signed, sealed].map(({ sessions }) => sessions.status()!.misses)
  if (missesBefore.join() !== missesAfter.join()) throw new Error('not all of it came from the cache')

  const results = [...measured].map(([name, ns]) => ({
    name: name.replaceAll('*', ''),
    medianUs: us(median(ns)),
    roundsUs: ns.map(us),
  }))
  const markdown = table(
    ['from the cache', 'µs'],
    [...measured].map(([name, ns]) => [name, us(median(ns)).toFixed(2)]),
  )
  return { results, markdown }
}

/** Sessions whose verifications are all cached, and their tokens. */
async function filled(credentials: Credentials) {
  const store = credentials.kind === 'sealed' ? {} : { store: memoryStore() }
  const sessions = createSessions({ ...store, feed: memoryFeed(), credentials })
  const tokens: string[] = []
  while (!sessions.status()!.fresh) await sleep(10)
  for (let n = 0; n < sessionCount; n++) {
    const { userId } = person(n)
    const { token } = await sessions.start(userId, { roles, amr })
    if ((await sessions.open(token)).userId !== userId) throw new Error(`a ${credentials.kind} session did not open`)
    tokens.push(token)
  }
  return { sessions, tokens }
}

async function theFirstTime() {
  const steps: Step[] = []
  for (const alg of algorithms) {
    const { credentials, publicKey, accessToken } = signing(alg)
    const tokens = await Promise.all(Array.from({ length: tokenCount }, (_, n) => accessToken(n)))
    const signatures = tokens.map((token) => {
      const at = token.lastIndexOf('.')
      return { signed: Buffer.from(token.slice(0, at)), signature: Buffer.from(token.slice(at + 1), 'base64url') }
    })
    const token = inTurn(tokens)
    const prepared = inTurn(signatures)
    const check = bareCheck(alg, publicKey)
    const expected = { issuer, audience, typ: 'at+jwt', algorithms: [alg] }
    const now = Date.now()
    const presented = await credentials.present(tokens[0]!, now)
    const { signed, signature } = signatures[0]!
    if (presented?.kind !== 'proof' || !check(signed, signature)) throw new Error(`a token of ${alg} is refused`)

    const calls = 2_000
    const bare = () => {
      const { signed, signature } = prepared()
      return check(signed, signature)
    }
    steps.push({ name: `${alg} bare`, run: bare, calls })
    steps.push({ name: `${alg} holdfast`, run: () => credentials.present(token(), now), calls })
    steps.push({ name: `${alg} jose`, run: () => jwtVerify(token(), publicKey, expected), calls })
  }
  const measured = await costs(steps, rounds)

  const results = algorithms.map((algorithm) => {
    const [bare, holdfast, jose] = ['bare', 'holdfast', 'jose'].map((who) => measured.get(`${algorithm} ${who}`)!)
    return {
      algorithm,
      bareUs: us(median(bare!)),
      holdfastUs: us(median(holdfast!)),
      holdfastOverBareUs: us(median(holdfast!.map((ns, i) => ns - bare![i]!))),
      joseUs: us(median(jose!)),
      roundsUs: { bare: bare!.map(us), holdfast: holdfast!.map(us), jose: jose!.map(us) },
    }
  })
  const markdown = table(
    ['the first time', 'bare check, µs', '**Holdfast**, µs', 'over the bare check', 'jose, µs'],
    results.map(({ algorithm, bareUs, holdfastUs, holdfastOverBareUs, joseUs }) => [
      algorithm,
      ...[bareUs, holdfastUs, holdfastOverBareUs, joseUs].map((value) => value.toFixed(1)),
    ]),
  )
  return { results, markdown }
}

/** The signature alone: nothing is parsed, no claim is looked at. */
function bareCheck(alg: Algorithm, key: KeyObject): (signed: Buffer, signature: Buffer) => boolean {
  if (alg === 'HS256') {
    return (signed, signature) => timingSafeEqual(createHmac('sha256', key).update(signed).digest(), signature)
  }
  const digest = alg === 'EdDSA' ? null : 'sha256'
  const how = {
    EdDSA: key,
    ES256: { key, dsaEncoding: 'ieee-p1363' as const },
    RS256: key,
    PS256: { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
  }[alg]
  return (signed, signature) => verify(digest, signed, how, signature)
}

function fromHeader(cookie: string): (name: string) => string | null {
  return (name) => (name === 'cookie' ? cookie : null)
}

function inTurn<T>(items: readonly T[]): () => T {
  let next = 0
  return () => items[next++ % items.length]!
}

function us(ns: number): number {
  return round(ns / 1000, 3)
}
