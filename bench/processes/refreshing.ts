// Clients of `refresh.ts`, many at once, who all hold the same refresh token. Some lose the answer, and try again with what they have.
import { createSessions } from 'holdfast'
import { redisFeed } from 'holdfast/feeds/redis'
import { redisStore } from 'holdfast/stores/redis'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectRedis } from '../harness/contender.ts'
import { report } from '../harness/forked.ts'
import { signing } from '../harness/tokens.ts'

export interface Asked {
  readonly token: string
  readonly clients: number
  /** The share of answers that don't arrive. */
  readonly lost: number
}
export type Told =
  | { readonly type: 'ready' }
  | {
      readonly type: 'refreshed'
      readonly calls: number
      /** Distinct refresh tokens that clients got. */
      readonly successors: readonly string[]
      /** Why clients were signed out. */
      readonly refused: readonly string[]
    }

const client = await connectRedis()
const { credentials } = signing('EdDSA')
const sessions = createSessions({ store: redisStore(client), feed: redisFeed(client), credentials })
const tell: (told: Told) => void = report((asked) => void refreshAll(asked as Asked))
while (!sessions.status()!.fresh) await sleep(10)
tell({ type: 'ready' })

async function refreshAll({ token, clients, lost }: Asked): Promise<void> {
  let calls = 0
  const successors = new Set<string>()
  const refused: string[] = []

  async function refresh(): Promise<void> {
    for (;;) {
      calls++
      const { session, tokens } = await sessions.refresh(token)
      if (Math.random() < lost) continue
      if (tokens === null) refused.push(session.refused ?? 'nothing was said')
      else if ((await sessions.open(tokens.token)).userId === null) refused.push('its access token opens nothing')
      else successors.add(tokens.refreshToken!)
      return
    }
  }

  await Promise.all(Array.from({ length: clients }, refresh))
  tell({ type: 'refreshed', calls, successors: [...successors], refused })
}
