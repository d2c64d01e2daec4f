// The verifier of `memory.ts`: what it weighs, asked after each step.
import { setTimeout as sleep } from 'node:timers/promises'
import { bearerTransport, cookieTransport, createSessions, opaqueCredentials } from 'holdfast'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { connectRedis } from '../harness/contender.ts'
import { FakeExchange } from '../harness/exchange.ts'
import { report } from '../harness/forked.ts'
import { signing, type Jwk } from '../harness/tokens.ts'

export type Asked =
  | { readonly type: 'open'; readonly tokens: readonly string[] }
  /** Wait until so many endings are known. */
  | { readonly type: 'know'; readonly endings: number }
  | { readonly type: 'weigh' }
export type Told = { readonly type: 'ready' } | { readonly type: 'done' } | ({ readonly type: 'weight' } & Weight)

export interface Weight {
  readonly heapBytes: number
  readonly rssBytes: number
  readonly cached: number
  /** What the cache itself takes its entries to weigh. */
  readonly cachedBytes: number
  readonly endings: number
}

const client = await connectRedis()
const [kind, jwk] = process.argv.slice(2)
const sessions = createSessions({
  store: redisStore(client),
  feed: redisFeed(client),
  transport: [cookieTransport(), bearerTransport()],
  // A machine that is busy making a hundred thousand sessions may be slow; that is not what is asked here.
  deadline: '10s',
  credentials: kind === 'signed' ? signing('EdDSA', JSON.parse(jwk!) as Jwk).credentials : opaqueCredentials(),
})
/** What comes along with a credential, and must not stay with it. */
const otherCookies = 'x'.repeat(1000)
const tell: (told: Told) => void = report((asked) => void doIt(asked as Asked))
while (!sessions.status()!.fresh) await sleep(10)
tell({ type: 'ready' })

async function doIt(asked: Asked): Promise<void> {
  if (asked.type === 'weigh') return tell({ type: 'weight', ...weigh() })
  if (asked.type === 'know') while (sessions.status()!.endings < asked.endings) await sleep(10)
  if (asked.type === 'open') {
    const opened = await Promise.all(asked.tokens.map((token) => sessions.open(request(token))))
    if (opened.some(({ userId }) => userId === null)) throw new Error('a session did not open')
  }
  tell({ type: 'done' })
}

/** A new string, as a parser makes it of what came from the network. */
function request(token: string): FakeExchange {
  if (kind === 'signed') return new FakeExchange({ authorization: `Bearer ${token}` })
  return new FakeExchange({ cookie: Buffer.from(`other=${otherCookies}; __Host-session=${token}`).toString('latin1') })
}

function weigh(): Weight {
  // Twice: what the first one finalizes the second one frees.
  gc!()
  gc!()
  const { heapUsed, external, rss } = process.memoryUsage()
  const { cached, cachedBytes, endings } = sessions.status()!
  return { heapBytes: heapUsed + external, rssBytes: rss, cached, cachedBytes, endings }
}
