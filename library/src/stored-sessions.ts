// Sessions on a store: the one place where transport, credential, store, feed, policy and session meet.
import { arrivals } from './arriving.ts'
import { asking } from './asking.ts'
import { isSessionId, type Credentials, type KnownSession, type Tokens } from './credentials/credentials.ts'
import { sections, type DataOf, type Schemas } from './data.ts'
import { describe, parseUserAgent } from './device.ts'
import { endings } from './endings.ts'
import { ConfigError, ConflictError, SessionGoneError } from './errors.ts'
import type { RefusedReason } from './events.ts'
import { HeldSession, type Reply, type SessionContext } from './held-session.ts'
import { checkUserId, decodeIdentity, encodeIdentity, nobody, remembered } from './identity.ts'
import { elapsedClock } from './internal/elapsed.ts'
import { guarded } from './internal/guarded.ts'
import { noStore } from './internal/no-store.ts'
import { harmless } from './internal/harmless.ts'
import { lifecycle, type Change } from './lifecycle.ts'
import { checkOptions, checkShared, type Parts, type SessionsOptions } from './options.ts'
import { policy } from './policy.ts'
import { refreshing } from './refreshing.ts'
import { grants } from './roles.ts'
import type { Session } from './session.ts'
import type { Sessions } from './sessions.ts'
import type { SessionRecord, Store, SweepableStore } from './store.ts'
import { identityOf, storedBackend } from './stored-backend.ts'
import { duplicate, type Exchange } from './transport/transport.ts'
import { verification, type Outcome } from './verification.ts'
import { watching } from './watching.ts'

export function storedSessions<S extends Schemas>(
  o: Omit<SessionsOptions<S>, keyof Parts> & Parts,
): Sessions<DataOf<S>> {
  type Data = DataOf<S>
  checkOptions(o)
  const { now = Date.now, elapsed = elapsedClock(), random = randomBytes, feed = null } = o
  const kinds = [o.credentials].flat()
  const arriving = arrivals([o.transport].flat(), o.trustedOrigins ?? [])
  const emit = harmless('onEvent', o.onEvent)
  const storeless = o.store === undefined

  const { deadlineMs, maxStalenessMs, cache } = checkShared(o)
  const asked = guarded(o.store ?? noStore, {
    deadlineMs,
    now,
    changed: (cause) => emit(cause === null ? { type: 'store-up' } : { type: 'store-down', cause }),
  })
  const store: Store = {
    ...asked,
    async get(id, options) {
      const record = await asked.get(id, options)
      // Whoever ended it may not have told: what is cached of it is not believed any longer.
      if (record === null) verifier?.renew(id, null)
      return record
    },
  }
  const rules = policy(o.lifetime ?? { idle: '30m', absolute: '12h' })
  const sweepable = o.store !== undefined && 'sweep' in o.store ? (o.store as SweepableStore) : null
  const limit = o.limit ?? null
  const verifier =
    feed === null
      ? null
      : o.verifier({
          feed,
          maxStalenessMs,
          ...cache,
          now: elapsed,
          changed: (cause) => emit(cause === null ? { type: 'feed-up' } : { type: 'feed-down', cause }),
          gap: () => emit({ type: 'feed-gap', republished: ends.repeat() }),
          keysChanged: () => Promise.all(kinds.map(async (kind) => kind.keysChanged?.())),
        })
  const watchers = watching({
    verifier,
    maxStalenessMs,
    now,
    elapsed,
    read: async (id) => (storeless ? undefined : live(await store.get(id))),
  })
  const ends = endings({
    store,
    feed,
    deadlineMs,
    maxStalenessMs,
    now,
    elapsed,
    published(notice) {
      if (verifier !== null) verifier.note(notice)
      else if (notice.kind === 'ended') watchers.ended(notice.ids)
    },
  })
  const life = lifecycle({ store, sweepable, endings: ends, policy: rules, limit, now, random, emit })
  const verify = verification({
    ask: storeless ? null : asking({ store, verifier, policy: rules, now }),
    kinds,
    verifier,
    alive: (known, at) => rules.live(known, at, () => remembered(known)),
    maxStalenessMs,
    whenStale: o.whenStale ?? 'ask-store',
    whenStoreIsDown: o.whenStoreIsDown ?? 'refuse',
    now,
    emit,
  })
  const refreshed = refreshing({ store, kinds, lifecycle: life, verifier, policy: rules, now, random, emit })
  const parts = sections(o.data, o.maxDataBytes ?? 65_536)
  const backend = storedBackend({ lifecycle: life, sections: parts, policy: rules, kinds, find, now, random })
  const context: SessionContext = { backend, grants: grants(o.roles ?? {}), now, emit, refresh }
  /** Sessions that are being extended. */
  const touching = new Set<string>()

  function live(record: SessionRecord | null): SessionRecord | null {
    return record !== null && rules.live(record, now(), () => remembered(record)) ? record : null
  }

  async function find(id: string): Promise<SessionRecord | null> {
    return verifier?.ended(id) === true ? null : live(await store.get(id))
  }

  /** The hot path: one function, so that a request waits for one promise beside the store's. */
  async function open(from: Exchange | string): Promise<Session<Data>> {
    const { token, reply } = typeof from === 'string' ? { token: from, reply: null } : arriving.toOpen(from)
    if (token === null) return new HeldSession<Data>(context, null, reply, null)
    if (token === duplicate) return refuse('duplicate', null, reply)
    let at = now()
    const pending = verify(token, at)
    let outcome: Outcome
    if (pending instanceof Promise) {
      outcome = await pending
      at = now()
    } else outcome = pending
    if ('refused' in outcome) return refuse(outcome.refused, outcome.id, reply)
    const { known, proof } = outcome
    const session = new HeldSession<Data>(context, known, reply, null)
    reply?.exchange.dependsOn(reply.transport.reads)
    // A session by signed token is extended by its refreshes.
    if (proof && known.data === null) return session
    if (!rules.touchDue(known, at, () => remembered(known))) return session
    if (proof) await session.extend(extended(known, at))
    else if (!touching.has(known.id)) session.touch(touch(known, at))
    return session
  }

  function refuse(reason: RefusedReason, id: string | null, reply: Reply | null): Session<Data> {
    emit({ type: 'refused', id, reason })
    return new HeldSession<Data>(context, null, reply, reason)
  }

  function extended<Known extends KnownSession>(known: Known, at: number): Known {
    const expiresAt = rules.expiresAt(known.createdAt, at, remembered(known))
    return { ...known, seenAt: at, expiresAt, version: known.version + 1 }
  }

  /** `known` may have been cached: another process may have extended the session since. */
  async function touch(known: KnownSession, at: number): Promise<SessionRecord | null> {
    const { id, data } = known
    touching.add(id)
    try {
      const record = data !== null ? { ...known, data } : await store.get(id)
      if (record === null) return null
      let touched = record
      if (rules.touchDue(record, at, () => remembered(record))) {
        touched = extended(record, at)
        if (!(await store.put(touched, record.version))) return null
      }
      verifier?.renew(id, touched)
      return touched
    } finally {
      touching.delete(id)
    }
  }

  async function refresh(from: Exchange | string): Promise<{ session: Session<Data>; tokens: Tokens | null }> {
    const arrived = typeof from === 'string' ? { token: from, reply: null } : arriving.toRefresh(from)
    if (arrived === null) return { session: new HeldSession<Data>(context, null, null, null), tokens: null }
    const { token, reply } = arrived
    if (token === null || token === duplicate) return { session: refuse('duplicate', null, reply), tokens: null }
    const outcome = await refreshed(token)
    if ('refused' in outcome) return { session: refuse(outcome.refused, outcome.id, reply), tokens: null }
    const session = new HeldSession<Data>(context, outcome.record, reply, null)
    session.adopt(outcome.record, outcome.tokens)
    return { session, tokens: outcome.tokens }
  }

  return {
    open,

    async start(userId, options = {}) {
      if (userId !== null) checkUserId(userId)
      const { browser, system } = parseUserAgent(options.userAgent ?? null)
      const device = describe(browser, system, options.address ?? null)
      const identity = identityOf(rules, options, { ...nobody, client: options.client ?? null }, device)
      const data = await parts.compose(options.data ?? {})
      const take = () => ({ identity, data })
      const credentials = kindNamed(kinds, options.credential)
      const { record, tokens } = await life.begin({ userId, credentials, old: null, take, checkDeliverable: () => {} })
      if (userId !== null) emit({ type: 'signed-in', id: record.id, userId, replaced: null })
      return { session: new HeldSession<Data>(context, record, null, null), ...tokens }
    },

    refresh,

    assertionFor: (session, audience, { scope } = {}) => (session as HeldSession<Data>).assertTo(audience, scope),

    async get(id) {
      const record = isSessionId(id) ? await find(id) : null
      return record === null ? null : new HeldSession<Data>(context, record, null, null)
    },

    async list(userId, { current = null } = {}) {
      checkUserId(userId)
      const records = await store.listByUser(userId)
      return records
        .filter((record) => live(record) !== null && verifier?.ended(record.id) !== true)
        .map(({ id, identity, createdAt, seenAt, expiresAt }) => {
          const { device, amr } = decodeIdentity(identity)
          return { id, current: id === current, device, amr, createdAt, seenAt, expiresAt }
        })
    },

    async end(id, { settled = false } = {}) {
      if (!isSessionId(id)) return false
      const ended = await life.end([id], null, 'ended')
      if (settled) await ends.settled()
      return ended.length > 0
    },

    async endUser(userId, { except = null, settled = false } = {}) {
      checkUserId(userId)
      const ids = (await store.listByUser(userId)).map(({ id }) => id).filter((id) => id !== except)
      const ended = await life.end(ids, userId, 'ended')
      if (settled) await ends.settled()
      return ended.length
    },

    async setRoles(userId, roles) {
      checkUserId(userId)
      const changed = new Set<string>()
      for (let vanished = true, attempt = 1; vanished; attempt++) {
        if (attempt > 10) throw new ConflictError(attempt)
        const records = await store.listByUser(userId)
        const written = await Promise.all(
          records.map(async (record) => {
            // A second try of a change that was made, perhaps late, must not make everybody's tokens stale once more.
            const isDone = hasRoles(record, roles)
            const renewed = isDone ? record : await life.change(record, withRoles(roles)).catch(unlessGone)
            if (renewed !== null) await ends.changed(renewed.id, renewed.epoch)
            return renewed
          }),
        )
        for (const record of written) if (record !== null) changed.add(record.id)
        // One that was replaced meanwhile may have handed its old roles on to a session that was not yet listed.
        vanished = written.includes(null)
      }
      for (const id of changed) emit({ type: 'roles-changed', id, userId, roles })
      return changed.size
    },

    watch({ id, expiresAt, endsAt, epoch }, onOver) {
      if (id === null || expiresAt === null || endsAt === null || epoch === null) return () => {}
      return watchers.watch({ id, expiresAt, endsAt, epoch }, onOver)
    },

    status: () => verifier?.status ?? null,

    close() {
      verifier?.close()
      watchers.close()
      ends.close()
    },
  }
}

function kindNamed(kinds: readonly Credentials[], name: Credentials['kind'] | undefined): Credentials {
  const found = name === undefined ? kinds[0] : kinds.find(({ kind }) => kind === name)
  if (found === undefined) throw new ConfigError(`credential: '${name}' is not among the kinds in 'credentials'`)
  return found
}

function hasRoles({ identity }: SessionRecord, roles: readonly string[]): boolean {
  const has = decodeIdentity(identity).roles
  return has.length === roles.length && has.every((role, i) => role === roles[i])
}

function withRoles(roles: readonly string[]): (current: SessionRecord) => Promise<Change> {
  return async (current) => ({
    identity: encodeIdentity({ ...decodeIdentity(current.identity), roles }),
    epoch: current.epoch + 1,
  })
}

function unlessGone(error: unknown): null {
  if (error instanceof SessionGoneError) return null
  throw error
}

function randomBytes(bytes: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(bytes))
}
