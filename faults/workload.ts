// What the people do: sign in, out and in again, everywhere or here, gain and lose roles, refresh from several tabs, and get robbed.
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { clock, type Recorder } from './history.ts'
import type { Act, Done, KnownToken } from './node-protocol.ts'
import type { VerifyingNode } from './parts.ts'
import { oneOf, shuffled, type Random } from './random.ts'

export interface WorkloadOptions {
  readonly nodes: () => readonly VerifyingNode[]
  readonly record: Recorder
  readonly random: Random
  /** Share of the sessions with signed tokens. */
  readonly signedShare: number
}

export interface Workload {
  /** Every token that the nodes should be trying now. */
  known(): readonly KnownToken[]
  /** Nothing new begins; resolves when what had begun was answered, or `ms` later. */
  stop(ms: number): Promise<void>
}

interface Client {
  readonly id: string
  readonly userId: string
  token: string
  /** By generation: the first is at 0. Empty for opaque ones. */
  readonly refreshTokens: string[]
  isRefreshing: boolean
  /** Not before then: a request of its own may still be on its way, and would come with what is by then an old token. */
  refreshesAt: number
  isOver: boolean
}

interface User {
  readonly id: string
  /** One change at a time, so that it is clear what holds. */
  isBusy: boolean
  /** Comes back as somebody else. */
  isGone: boolean
  clients: Client[]
}

type Did = Done & { readonly node: string }

const tickMs = 30
const liveAtLeast = 36
const usersAtMost = 60
const knownAtMost = 160
const roleSets = [['shopper'], ['clerk'], ['clerk', 'auditor'], []] as const
/** Nobody waits longer for an ending before asking somebody else. */
const patienceMs = 1_500
const answersLost = 0.05
/** Longer than anything is stuck on its way. Who refreshes every few minutes never notices. */
const stuckMs = 10_000
/** An honest client gives up before the window of its refresh token is over. */
const refreshGivesUpMs = 6_000

export function workload({ nodes, record, random, signedShare }: WorkloadOptions): Workload {
  let born = 0
  const users: User[] = Array.from({ length: usersAtMost }, newUser)
  /** The oldest first. */
  const tokens = new Map<string, KnownToken & { readonly client: Client }>()
  const underWay = new Set<Promise<unknown>>()
  const stopping = new AbortController()

  const timer = setInterval(() => {
    const doing = next().finally(() => underWay.delete(doing))
    underWay.add(doing)
  }, tickMs)

  function newUser(): User {
    return { id: `user${born++}`, isBusy: false, isGone: false, clients: [] }
  }

  async function next(): Promise<void> {
    const idle = users.filter(({ isBusy }) => !isBusy)
    const live = idle.flatMap((user) => user.clients.map((client) => ({ user, client })))
    if (idle.length === 0) return
    if (live.length < liveAtLeast && random() < 0.7) return start(oneOf(random, idle))
    if (live.length === 0) return
    const { user, client } = oneOf(random, live)
    const chance = random()
    if (chance < 0.3) return end(user, client)
    if (chance < 0.35) return endUser(user)
    if (chance < 0.47) return signIn(user, client)
    if (chance < 0.6) return setRoles(user)
    if (client.refreshTokens.length === 0) return end(user, client)
    return chance < 0.66 && client.refreshTokens.length > 2 ? steal(client) : refresh(client)
  }

  async function start(user: User): Promise<void> {
    const roles = oneOf(random, roleSets)
    const credential = random() < signedShare ? 'signed' : 'opaque'
    await exclusively(user, async () => {
      const did = await ask(honest(), { do: 'start', userId: user.id, roles, credential })
      const client = begun(user, did, roles)
      // Some leave at once, while the others look at the session for the first time.
      if (client !== null && random() < 0.3) {
        await sleep(random() * 80)
        await endOne(client)
      }
    })
  }

  function begun(user: User, { result, ...did }: Did, roles: readonly string[]): Client | null {
    const given = result.is === 'given' ? result : null
    const isSigned = given !== null && given.refreshToken !== null
    record({
      kind: 'start',
      ...about(did),
      id: given?.id ?? null,
      userId: user.id,
      roles,
      isSigned,
      why: whyOf(result),
    })
    if (given === null) return null
    const { id, token, refreshToken } = given
    const refreshTokens = refreshToken === null ? [] : [refreshToken]
    const client = { id, userId: user.id, token, refreshTokens, isRefreshing: false, refreshesAt: 0, isOver: false }
    user.clients.push(client)
    know(client, did.began)
    return client
  }

  function end(user: User, client: Client): Promise<void> {
    return exclusively(user, () => endOne(client))
  }

  /** Until it is done: whoever ends a session wants to know that it has ended. */
  async function endOne(client: Client): Promise<void> {
    over(client)
    await insist([client.id], { do: 'end', id: client.id })
  }

  async function endUser(user: User): Promise<void> {
    await exclusively(user, async () => {
      const { clients } = user
      for (const client of clients) over(client)
      const ids = clients.map(({ id }) => id)
      const isSure = await insist(ids, { do: 'endUser', userId: user.id })
      // A request that is stuck on its way ends whatever it finds when it arrives.
      if (!isSure) user.isGone = true
    })
  }

  /** Whether the first attempt was it. Of one that failed, or took too long, nobody knows when it is carried out. */
  async function insist(ids: readonly string[], act: Extract<Act, { do: 'end' | 'endUser' }>): Promise<boolean> {
    for (let attempt = 1; !stopping.signal.aborted; attempt++) {
      const doing = ask(oneOf(random, up()), act).then(({ result, ...did }) => {
        record({ kind: 'end', by: act.do, ...about(did), ids, done: result.is === 'done', why: whyOf(result) })
        return result.is === 'done'
      })
      underWay.add(doing)
      void doing.finally(() => underWay.delete(doing))
      if (await Promise.race([doing, sleep(patienceMs, false)])) return attempt === 1
      await sleep(100)
    }
    return false
  }

  async function signIn(user: User, client: Client): Promise<void> {
    const roles = oneOf(random, roleSets)
    await exclusively(user, async () => {
      over(client)
      const { token } = client
      const did = await ask(honest(), { do: 'signIn', token, userId: user.id, roles })
      // With a token from before the roles changed. That nobody else is refused the verifying processes show.
      if (did.result.is === 'refused') return endOne(client)
      const done = did.result.is === 'given'
      record({ kind: 'end', by: 'signIn', ...about(did), ids: [client.id], done, why: whyOf(did.result) })
      begun(user, did, roles)
      // Its outcome may be unknown.
      if (!done) await endOne(client)
    })
  }

  async function setRoles(user: User): Promise<void> {
    const roles = oneOf(random, roleSets)
    await exclusively(user, async () => {
      const clients = user.clients
      const did = await ask(oneOf(random, up()), { do: 'setRoles', userId: user.id, roles })
      const done = did.result.is === 'done'
      record({ kind: 'roles', ...about(did), ids: clients.map(({ id }) => id), roles, done, why: whyOf(did.result) })
      // A signed token with the old roles is stale from now on.
      await Promise.all(clients.filter(({ refreshTokens }) => refreshTokens.length > 0).map(refresh))
    })
  }

  /** From one to four tabs at once; of the answers some get lost, and then it is tried again with the same token. */
  async function refresh(client: Client): Promise<void> {
    const since = clock()
    if (client.isRefreshing || client.isOver || since < client.refreshesAt) return
    client.isRefreshing = true
    try {
      while (!client.isOver && !stopping.signal.aborted && clock() - since < refreshGivesUpMs) {
        const tabs = shuffled(
          random,
          up().filter(({ isOff }) => !isOff),
        ).slice(0, 1 + Math.floor(random() * 4))
        const got = await Promise.all(tabs.map((tab) => refreshAt(tab, client, client.refreshTokens.length, false)))
        if (got.includes(null)) client.refreshesAt = clock() + stuckMs
        const arrived = got.filter((one) => one !== null && random() >= answersLost)[0]
        if (arrived !== undefined && arrived !== null) {
          client.token = arrived.token
          client.refreshTokens.push(arrived.refreshToken!)
          if (!client.isOver) know(client, arrived.began)
          return
        }
        await sleep(100)
      }
    } finally {
      client.isRefreshing = false
    }
  }

  async function refreshAt(node: VerifyingNode, client: Client, generation: number, stolen: boolean) {
    const refreshToken = client.refreshTokens[generation - 1]!
    const { result, ...did } = await ask(node, { do: 'refresh', refreshToken })
    const successor = result.is === 'given' ? sha256(result.refreshToken!) : null
    const outcome =
      result.is === 'refused' ? (`refused: ${result.reason}` as const) : result.is === 'given' ? 'given' : 'failed'
    record({
      kind: 'refresh',
      ...about(did),
      id: client.id,
      generation,
      stolen,
      outcome,
      successor,
      why: whyOf(result),
    })
    if (outcome.startsWith('refused')) over(client)
    return result.is === 'given' ? { ...result, began: did.began } : null
  }

  /** A thief comes with a copy of a token that was spent long ago. */
  async function steal(client: Client): Promise<void> {
    if (client.isRefreshing || client.isOver) return
    client.isRefreshing = true
    const generation = 1 + Math.floor(random() * (client.refreshTokens.length - 2))
    await refreshAt(oneOf(random, honestNodes()), client, generation, true)
    client.isRefreshing = false
  }

  function over(client: Client): void {
    client.isOver = true
    const user = users.find(({ id }) => id === client.userId)
    if (user !== undefined) user.clients = user.clients.filter((other) => other !== client)
  }

  /** All try it from now on; the ended ones are forgotten first, the oldest first. */
  function know(client: Client, issuedAt: number): void {
    const { id, token } = client
    tokens.set(token, { id, token, issuedAt, client })
    const tooMany = [...tokens.values()]
      .filter(({ client }) => client.isOver)
      .slice(0, Math.max(0, tokens.size - knownAtMost))
    for (const { token } of tooMany) tokens.delete(token)
    for (const node of nodes()) {
      node.tell({ type: 'know', tokens: [{ id, token, issuedAt }] })
      if (tooMany.length > 0) node.tell({ type: 'forget', tokens: tooMany.map(({ token }) => token) })
    }
  }

  async function exclusively(user: User, run: () => Promise<void>): Promise<void> {
    user.isBusy = true
    try {
      await run()
    } finally {
      user.isBusy = false
      if (user.isGone) users.splice(users.indexOf(user), 1, newUser())
    }
  }

  function up(): readonly VerifyingNode[] {
    const all = nodes()
    const some = all.filter(({ isUp }) => isUp)
    return some.length > 0 ? some : all
  }

  function honestNodes(): readonly VerifyingNode[] {
    return up().filter(({ isOff }) => !isOff)
  }

  /** Tokens are made by processes whose clock is right. */
  function honest(): VerifyingNode {
    return oneOf(random, honestNodes())
  }

  return {
    known: () => [...tokens.values()].map(({ id, token, issuedAt }) => ({ id, token, issuedAt })),
    async stop(ms) {
      stopping.abort()
      clearInterval(timer)
      await Promise.race([Promise.allSettled(underWay), sleep(ms, undefined, { ref: false })])
    },
  }
}

async function ask(node: VerifyingNode, act: Act): Promise<Did> {
  return node.act(act)
}

function about({ node, began, ended }: { node: string; began: number; ended: number }) {
  return { node, began, ended }
}

function whyOf(result: Done['result']): string | undefined {
  return result.is === 'failed' ? result.why : result.is === 'refused' ? result.reason : undefined
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
