// `npm run bench:memory`: what a verifier weighs that has its cache full and knows of every ending of the last hours; and what each
// cached verification and each ending takes of that. Options: --write
import { parseArgs } from 'node:util'
import { createSessions, opaqueCredentials } from 'holdfast'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { connectRedis } from './harness/contender.ts'
import { forked, type Forked } from './harness/forked.ts'
import { address, amr, person, roles, userAgent } from './harness/person.ts'
import { benchRedis } from './harness/redis.ts'
import { heading, provenance, publish, round, save, table } from './harness/report.ts'
import { newJwk, signing } from './harness/tokens.ts'
import type { Asked, Told, Weight } from './processes/remembering.ts'

/** 1 % of a million sessions. */
const endings = 10_000
/** The default bounds of the cache. */
const bounds = { maxEntries: 100_000, maxEndings: 100_000 }
/** More than the bounds, so that they are seen to hold. */
const beyond = 1.1
const warmup = 2_000

const { values } = parseArgs({ options: { write: { type: 'boolean', default: false } } })
const redis = await benchRedis(null)
try {
  const results = []
  for (const kind of ['opaque', 'signed'] as const) {
    await redis.empty()
    results.push({ kind, ...(await measure(kind)) })
  }
  const about = { ...heading(redis.version), options: { endings, ...bounds } }
  const text = `${markdown(results)}\n\n${provenance(about)}.`
  console.log(text)
  save('memory', { ...about, results })
  if (values.write) publish('memory', text)
} finally {
  await redis.stop()
}
process.exit()

async function measure(kind: 'opaque' | 'signed') {
  const jwk = newJwk('EdDSA')
  await using verifier = forked<Told>('remembering', redis.url, [kind, JSON.stringify(jwk)], ['--expose-gc'])
  await verifier.hear('ready')
  const client = await connectRedis('none', redis.url)
  using _ = { [Symbol.dispose]: () => client.destroy() }
  const feed = redisFeed(client)
  const credentials = kind === 'signed' ? signing('EdDSA', jwk).credentials : opaqueCredentials()
  const sessions = createSessions({ store: redisStore(client), credentials, deadline: '10s' })

  async function startAndOpen(count: number): Promise<void> {
    const atOnce = 100
    for (let n = 0; n < count; n += atOnce) {
      const started = await Promise.all(
        Array.from({ length: atOnce }, (_, i) =>
          sessions.start(person(n + i).userId, { roles, amr, userAgent, address }),
        ),
      )
      await done(verifier, { type: 'open', tokens: started.map(({ token }) => token) })
    }
  }

  async function publishEndings(count: number, idsPerNotice: number): Promise<void> {
    for (let n = 0; n < count; n += idsPerNotice) {
      await feed.publish({ kind: 'ended', ids: Array.from({ length: idsPerNotice }, newId), reason: 'ended' })
    }
  }

  // What is compiled and allocated once is not part of what an entry takes.
  await startAndOpen(warmup)
  const before = await weigh(verifier)
  await publishEndings(endings, 1)
  await done(verifier, { type: 'know', endings })
  const withEndings = await weigh(verifier)
  await startAndOpen(bounds.maxEntries * beyond)
  const withCache = await weigh(verifier)
  await publishEndings(bounds.maxEndings * beyond - endings, 100)
  await done(verifier, { type: 'know', endings: bounds.maxEndings })
  const full = await weigh(verifier)
  const per = (a: Weight, b: Weight, key: 'cached' | 'endings') =>
    round((b.heapBytes - a.heapBytes) / (b[key] - a[key]), 0)
  return {
    before,
    withEndings,
    withCache,
    full,
    bytesPerEnding: per(withCache, full, 'endings'),
    bytesPerEntry: per(withEndings, withCache, 'cached'),
    assumedPerEntry: round(withCache.cachedBytes / withCache.cached, 0),
  }
}

async function done(verifier: Forked<Told>, asked: Asked): Promise<void> {
  const told = verifier.hear('done')
  verifier.say(asked)
  await told
}

async function weigh(verifier: Forked<Told>): Promise<Weight> {
  const told = verifier.hear('weight')
  verifier.say({ type: 'weigh' } satisfies Asked)
  return told
}

/** Of a session that nobody has cached, as most of a million. */
function newId(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('base64url')
}

function markdown(results: readonly ({ kind: string } & Awaited<ReturnType<typeof measure>>)[]): string {
  const mib = ({ heapBytes, rssBytes }: Weight) =>
    [heapBytes, rssBytes].map((b) => (b / 2 ** 20).toFixed(0)).join(' / ')
  return table(
    [
      'MiB: heap / resident',
      'before',
      '10,000 endings known',
      'and its cache full',
      'and 100,000 endings known',
      'bytes per cached entry (as it counts)',
      'bytes per ending',
    ],
    results.map(({ kind, before, withEndings, withCache, full, bytesPerEntry, assumedPerEntry, bytesPerEnding }) => [
      `${kind}, ${withCache.cached.toLocaleString('en')} entries`,
      ...[before, withEndings, withCache, full].map(mib),
      `${bytesPerEntry} (${assumedPerEntry})`,
      String(bytesPerEnding),
    ]),
  )
}
