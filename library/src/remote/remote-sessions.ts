// Sessions behind the session service: the one place where transport, credential, HTTP, feed and session meet.
import { arrivals } from '../arriving.ts'
import { isSessionId, type KnownSession, type Tokens } from '../credentials/credentials.ts'
import { sections, type DataOf, type Schemas } from '../data.ts'
import { describe, parseUserAgent } from '../device.ts'
import type { EndReason, RefusedReason } from '../events.ts'
import { HeldSession, type Reply, type SessionContext } from '../held-session.ts'
import { checkUserId } from '../identity.ts'
import { elapsedClock } from '../internal/elapsed.ts'
import { harmless } from '../internal/harmless.ts'
import { unref } from '../internal/timers.ts'
import { checkShared } from '../options.ts'
import { grants } from '../roles.ts'
import type { Session } from '../session.ts'
import type { Sessions, SessionInfo } from '../sessions.ts'
import { duplicate, type Exchange } from '../transport/transport.ts'
import { verification, type Asked, type Outcome } from '../verification.ts'
import { watching } from '../watching.ts'
import { http, path, verifyPath } from './http.ts'
import { endsAt, knownSession, type RemoteSession } from './known.ts'
import { checkConnection, type ConnectOptions, type RemoteParts } from './options.ts'
import { deviceOf, end, remoteBackend, signInBody, tokensOf } from './remote-backend.ts'
import { remoteFeed } from './remote-feed.ts'
import { signedBy } from './signed-by.ts'

/** A session that could not be extended, or whose clock runs ahead of the service's, is not asked for at each request. */
const touchEveryMs = 1_000
/** Why the service gives nothing for a refresh token. */
const refreshRefusals = ['malformed', 'unknown', 'mismatch', 'expired', 'ended', 'refresh-reused'] as const
/** No refresh token is longer. */
const refreshTokenAtMost = 1_024

export function remoteSessions<S extends Schemas>(
  o: Omit<ConnectOptions<S>, keyof RemoteParts> & RemoteParts,
): Sessions<DataOf<S>> {
  type Data = DataOf<S>
  const { url, authorization } = checkConnection(o)
  const { deadlineMs, maxStalenessMs, cache } = checkShared(o)
  const { now = Date.now, elapsed = elapsedClock(), fetch = globalThis.fetch } = o
  const arriving = arrivals([o.transport].flat(), o.trustedOrigins ?? [])
  const emit = harmless('onEvent', o.onEvent)
  const service = http({
    url,
    authorization,
    deadlineMs,
    settleMs: 2 * maxStalenessMs,
    now,
    fetch,
    changed: (cause) => emit(cause === null ? { type: 'store-up' } : { type: 'store-down', cause }),
  })
  const signed = signedBy({
    url,
    http: service,
    issuer: o.issuer,
    audience: o.audience,
    service: o.clientId,
    fetch,
    deadlineMs,
    make: o.signed,
  })
  const verifier = o.verifier({
    feed: remoteFeed(service),
    maxStalenessMs,
    ...cache,
    now: elapsed,
    changed: (cause) => emit(cause === null ? { type: 'feed-up' } : { type: 'feed-down', cause }),
    // The service announces endings again that may have been lost.
    gap: () => emit({ type: 'feed-gap', republished: 0 }),
    keysChanged: async () => signed.keysChanged?.(),
  })
  const watchers = watching({ verifier, maxStalenessMs, now, elapsed, read: get })
  const verify = verification({
    ask,
    kinds: [o.opaque, signed],
    verifier,
    // The limits are the service's: where it said that the session expires it is asked again.
    alive: (known, at) => at < known.expiresAt,
    maxStalenessMs,
    whenStale: o.whenStale ?? 'ask-store',
    whenStoreIsDown: o.whenServiceIsDown ?? 'refuse',
    now,
    emit,
  })
  const parts = sections(o.data, Infinity)
  const backend = remoteBackend({ http: service, sections: parts, now, emit, ended })
  const context: SessionContext = { backend, grants: grants(o.roles ?? {}), now, emit, refresh }
  /** Sessions that are being extended, or were a moment ago. */
  const touching = new Set<string>()

  async function asked(
    presented: { token: string } | { assertion: string },
  ): Promise<{ known: RemoteSession } | { refused: RefusedReason }> {
    const answer = await service.call({
      method: 'POST',
      path: verifyPath,
      body: presented,
      repeatable: true,
      // The service answers so of forged tokens alone, once there were too many of them; live ones open as always.
      accepts: service.isKnown ? ['too-many-failures'] : [],
    })
    if (answer.code !== null) return { refused: 'mismatch' }
    const { active, reason, session } = (answer.body ?? {}) as Record<string, unknown>
    return active === false ? { refused: reason as RefusedReason } : { known: knownSession(session, answer) }
  }

  async function ask(token: string, presented: Asked): Promise<Outcome> {
    const proof = presented.kind === 'proof'
    const answer = await asked(proof && presented.known.via !== undefined ? { assertion: token } : { token })
    if ('refused' in answer) return { ...answer, id: proof ? presented.known.id : presented.id }
    return { known: proof ? presented.known : answer.known, proof }
  }

  /** Endings of this process hold here at once. */
  function ended(ids: readonly string[], userId: string | null, reason: EndReason): void {
    verifier.note({ kind: 'ended', ids, reason })
    emit({ type: 'ended', ids, userId, reason })
  }

  async function open(from: Exchange | string): Promise<Session<Data>> {
    const { token, reply } = typeof from === 'string' ? { token: from, reply: null } : arriving.toOpen(from)
    if (token === null) return new HeldSession<Data>(context, null, reply, null)
    if (token === duplicate) return refuse('duplicate', null, reply)
    const at = now()
    const pending = verify(token, at)
    const outcome = pending instanceof Promise ? await pending : pending
    if ('refused' in outcome) return refuse(outcome.refused, outcome.id, reply)
    const { known, proof } = outcome
    const session = new HeldSession<Data>(context, known, reply, null, token)
    reply?.exchange.dependsOn(reply.transport.reads)
    // A session by signed token is extended by its refreshes.
    if (!proof && touchDue(known, at) && !touching.has(known.id)) session.touch(touch(token, known))
    return session
  }

  function refuse(reason: RefusedReason, id: string | null, reply: Reply | null): Session<Data> {
    emit({ type: 'refused', id, reason })
    return new HeldSession<Data>(context, null, reply, reason)
  }

  /** The service extends what it verifies. */
  async function touch(token: string, { id }: KnownSession): Promise<KnownSession | null> {
    touching.add(id)
    try {
      const answer = await asked({ token })
      const known = 'refused' in answer ? null : answer.known
      verifier.renew(id, known)
      return known
    } finally {
      unref(setTimeout(() => touching.delete(id), touchEveryMs))
    }
  }

  async function get(id: string): Promise<RemoteSession | null> {
    const answer = await service.call({
      method: 'GET',
      path: path`/v1/sessions/${id}`,
      repeatable: true,
      accepts: ['session-gone'],
    })
    return answer.code !== null ? null : knownSession(answer.body, answer)
  }

  async function list(userId: string): Promise<readonly Omit<SessionInfo, 'current'>[]> {
    const answer = await service.call({ method: 'GET', path: path`/v1/users/${userId}/sessions`, repeatable: true })
    const all = (answer.body as { sessions: readonly Omit<SessionInfo, 'current'>[] }).sessions
    return all.filter(({ id }) => !verifier.ended(id))
  }

  /** What the feed will tell of anyway, so that it holds here at once; nothing where this client may not read. */
  async function idsOf(userId: string): Promise<readonly string[]> {
    return (await list(userId).catch(() => [])).map(({ id }) => id)
  }

  async function refresh(from: Exchange | string): Promise<{ session: Session<Data>; tokens: Tokens | null }> {
    const arrived = typeof from === 'string' ? { token: from, reply: null } : arriving.toRefresh(from)
    if (arrived === null) return { session: new HeldSession<Data>(context, null, null, null), tokens: null }
    const { token, reply } = arrived
    if (token === null || token === duplicate) return { session: refuse('duplicate', null, reply), tokens: null }
    if (typeof token !== 'string' || token.length > refreshTokenAtMost)
      return { session: refuse('malformed', null, reply), tokens: null }
    const answer = await service.call({
      method: 'POST',
      path: '/v1/sessions/refresh',
      body: { refreshToken: token },
      // In the refresh window it gives the same successor again.
      repeatable: true,
      accepts: [...refreshRefusals, ...(service.isKnown ? ['too-many-failures'] : [])],
    })
    if (answer.code !== null) {
      const reason = refreshRefusals.find((known) => known === answer.code) ?? 'mismatch'
      return { session: refuse(reason, null, reply), tokens: null }
    }
    const known = knownSession((answer.body as { session?: unknown } | undefined)?.session, answer)
    const tokens = tokensOf(answer)
    emit({ type: 'refreshed', id: known.id, userId: known.userId, outcome: 'rotated' })
    const session = new HeldSession<Data>(context, known, reply, null)
    session.adopt(known, tokens)
    return { session, tokens }
  }

  return {
    open,

    assertionFor: (session, audience, { scope } = {}) => (session as HeldSession<Data>).assertTo(audience, scope),

    async start(userId, options = {}) {
      if (userId !== null) checkUserId(userId)
      const { userAgent = null, address = null, credential } = options
      const { browser, system } = parseUserAgent(userAgent)
      const data = JSON.parse(await parts.compose(options.data ?? {})) as object
      const { known, tokens } = await backend.start({
        userId,
        ...signInBody(options),
        credential,
        device: deviceOf({ device: describe(browser, system, address), userAgent }),
        // Asks for a permission of its own.
        data: Object.keys(data).length > 0 ? data : undefined,
      })
      if (userId !== null) emit({ type: 'signed-in', id: known.id, userId, replaced: null })
      return { session: new HeldSession<Data>(context, known, null, null, tokens.token), ...tokens }
    },

    refresh,

    async get(id) {
      const known = isSessionId(id) && !verifier.ended(id) ? await get(id) : null
      return known === null ? null : new HeldSession<Data>(context, known, null, null)
    },

    async list(userId, { current = null } = {}) {
      checkUserId(userId)
      return (await list(userId)).map((info) => ({ ...info, current: info.id === current }))
    },

    async end(id, { settled = false } = {}) {
      if (!isSessionId(id)) return false
      const wasAlive = await end(service, id, settled)
      // Also when it was not: a first try whose answer was lost may have ended it.
      verifier.note({ kind: 'ended', ids: [id], reason: 'ended' })
      if (wasAlive) emit({ type: 'ended', ids: [id], userId: null, reason: 'ended' })
      return wasAlive
    },

    async endUser(userId, { except = null, settled = false } = {}) {
      checkUserId(userId)
      const ids = (await idsOf(userId)).filter((id) => id !== except)
      const asked = new URLSearchParams({
        ...(isSessionId(except) ? { except } : {}),
        ...(settled ? { settled: 'true' } : {}),
      })
      const answer = await service.call({
        method: 'DELETE',
        path: `${path`/v1/users/${userId}/sessions`}?${asked.toString()}`,
        repeatable: true,
        settles: settled,
      })
      if (ids.length > 0) ended(ids, userId, 'ended')
      return (answer.body as { ended: number }).ended
    },

    async setRoles(userId, roles) {
      checkUserId(userId)
      const answer = await service.call({
        method: 'PUT',
        path: path`/v1/users/${userId}/roles`,
        body: { roles },
        repeatable: true,
      })
      for (const id of await idsOf(userId)) {
        verifier.renew(id, null)
        emit({ type: 'roles-changed', id, userId, roles })
      }
      return (answer.body as { changed: number }).changed
    },

    watch({ id, expiresAt, endsAt: end, epoch }, onOver) {
      if (id === null || expiresAt === null || end === null || epoch === null) return () => {}
      // Where both are the same it may be the end of a signed token alone.
      return watchers.watch({ id, expiresAt, endsAt: end > expiresAt ? end : Infinity, epoch }, onOver)
    },

    status: () => verifier.status,

    close() {
      verifier.close()
      watchers.close()
    },
  }
}

/** Whether a tenth of the idle time has passed since the session was last extended, and it can be extended at all. */
function touchDue(known: KnownSession, at: number): boolean {
  const { seenAt, expiresAt } = known
  return expiresAt < endsAt(known) && at - seenAt >= (expiresAt - seenAt) / 10
}
