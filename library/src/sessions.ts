// Sessions on a store: the one place where transport, credential, store, policy and session meet.
import type { Credentials } from './credentials/credentials.ts'
import { refuseCrossSite, isSafe } from './cross-site.ts'
import { sections, type DataOf, type Schemas } from './data.ts'
import { describe, parseUserAgent, type Device } from './device.ts'
import { ConfigError, ConflictError, SessionGoneError } from './errors.ts'
import type { RefusedReason, SessionEvent } from './events.ts'
import { decodeIdentity, encodeIdentity, remembered } from './identity.ts'
import { milliseconds, type Duration } from './internal/duration.ts'
import { guarded } from './internal/guarded.ts'
import { lifecycle, type Change, type Limit } from './lifecycle.ts'
import { policy, type Lifetime } from './policy.ts'
import { grants, type Roles } from './roles.ts'
import type { Session, SignInOptions } from './session.ts'
import type { SessionRecord, Store, SweepableStore } from './store.ts'
import { checkUserId, identityOf, nobody, StoredSession, type Reply, type SessionContext } from './stored-session.ts'
import { duplicate, type Exchange, type Transport } from './transport/transport.ts'

/** All the sessions of a system. Every call rejects with `StoreUnavailableError` when the store can't answer in time. */
export interface Sessions<Data> {
  /**
   * The session of a request, or of a credential that came by another way. Never creates one and never waits for a write; a
   * credential that is not accepted gives an anonymous session that says why in `refused`.
   *
   * `CrossSiteError` when the request would change something and comes from another site.
   */
  open(from: Exchange | string): Promise<Session<Data>>
  /** Begins a session without a request, `null` for a guest. The token is the client's, and secret. */
  start(userId: string | null, o?: StartOptions<Data>): Promise<{ session: Session<Data>; token: string }>
  /** A live session by its id, for those who administer it; `null` when there is none. */
  get(id: string): Promise<Session<Data> | null>
  /** A user's live sessions, newest first. `current` marks the one with this id. */
  list(userId: string, o?: { current?: string | null }): Promise<readonly SessionInfo[]>
  /** Ends one session, whoever's; whether it was alive. No process accepts it once this resolves. */
  end(id: string): Promise<boolean>
  /** Ends every session of a user that was there when this was called, but for `except`; how many were alive. */
  endUser(userId: string, o?: { except?: string | null }): Promise<number>
  /** Changes the roles in every live session of a user, from their next request on; how many that were. */
  setRoles(userId: string, roles: readonly string[]): Promise<number>
}

/** The session type of a `Sessions`, to type `req.session` with. */
export type SessionOf<S> = S extends Sessions<infer Data> ? Session<Data> : never

/** What a session may begin with when there is no request to tell. */
export interface StartOptions<Data> extends Omit<SignInOptions<Data>, 'carry'> {
  readonly userAgent?: string | undefined
  readonly address?: string | undefined
  /** The client of the session service on whose behalf it is started. */
  readonly client?: string | undefined
  readonly data?: Partial<Data> | undefined
}

/** One line in a user's list of devices. */
export interface SessionInfo {
  readonly id: string
  readonly current: boolean
  readonly device: Device
  readonly amr: readonly string[]
  /** Instants in ms since the epoch. `seenAt` may lag by a tenth of the idle time. */
  readonly createdAt: number
  readonly seenAt: number
  readonly expiresAt: number
}

/** Options of `createSessions`. */
export interface SessionsOptions<S extends Schemas> {
  readonly store: Store
  /** Default 30 minutes idle, 12 hours absolute. */
  readonly lifetime?: Lifetime | undefined
  /** The sections this service uses, each with a Standard Schema. Default: any section, as plain JSON. */
  readonly data?: S | undefined
  /** All sections together, in bytes of UTF-8. Default 65,536. */
  readonly maxDataBytes?: number | undefined
  /** Default: no role grants anything. */
  readonly roles?: Roles | undefined
  /** Default: as many sessions per user as they like. */
  readonly limit?: Limit | undefined
  /** Ways by which a credential may come, the first to hand out new ones. Default `cookieTransport()`. */
  readonly transport?: Transport | readonly Transport[] | undefined
  /** Other origins, such as `https://accounts.example`, whose pages may send requests that change something. */
  readonly trustedOrigins?: readonly string[] | undefined
  /**
   * How long a call to the store may take, up to a tenth more. Default 500 ms. A write whose answer was lost is settled by a
   * second call, so it may take twice as long.
   */
  readonly deadline?: Duration | undefined
  /** Called with everything worth observing, synchronously; must not throw. */
  readonly onEvent?: ((event: SessionEvent) => void) | undefined
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: (() => number) | undefined
  /** That many random bytes. Default Web Crypto. */
  readonly random?: ((bytes: number) => Uint8Array) | undefined
}

export function storedSessions<S extends Schemas>(
  o: SessionsOptions<S> & { transport: Transport | readonly Transport[]; credentials: Credentials },
): Sessions<DataOf<S>> {
  type Data = DataOf<S>
  checkOptions(o)
  const { credentials, now = Date.now, random = randomBytes } = o
  const transports = [o.transport].flat()
  const trusted = new Set((o.trustedOrigins ?? []).map(checkOrigin))
  const emit = observed(o.onEvent)

  const deadlineMs = milliseconds('deadline', o.deadline ?? '500ms')
  if (deadlineMs > 60_000) throw new ConfigError('deadline: at most 60s; requests wait for it')
  const store = guarded(o.store, {
    deadlineMs,
    now,
    changed: (cause) => emit(cause === null ? { type: 'store-up' } : { type: 'store-down', cause }),
  })
  const rules = policy(o.lifetime ?? { idle: '30m', absolute: '12h' })
  const sweepable = 'sweep' in o.store ? (o.store as SweepableStore) : null
  const limit = o.limit ?? null
  const life = lifecycle({ store, sweepable, credentials, policy: rules, limit, now, random, emit })
  const parts = sections(o.data, o.maxDataBytes ?? 65_536)
  const context: SessionContext = {
    lifecycle: life,
    sections: parts,
    policy: rules,
    grants: grants(o.roles ?? {}),
    now,
    emit,
  }

  /** The credential of a request, and where a new one would go. Throws when the request may not change anything. */
  function arrived(exchange: Exchange): { token: string | null | typeof duplicate; reply: Reply } {
    const header = (name: string) => exchange.header(name)
    let transport = transports[0]!
    let token: string | null | typeof duplicate = null
    for (const candidate of transports) {
      const extracted = candidate.extract(header)
      if (extracted === null) continue
      if (token === null) transport = candidate
      token = token === null ? extracted : duplicate
    }
    // Without a credential it is the first transport's: a sign-in would hand one out by it (login CSRF).
    if (transport.ambient && !isSafe(exchange.method)) refuseCrossSite(header, token !== null, trusted)
    return { token, reply: { exchange, transport } }
  }

  /** The hot path: one function, so that a request waits for one promise beside the store's. */
  async function open(from: Exchange | string): Promise<Session<Data>> {
    const { token, reply } = typeof from === 'string' ? { token: from, reply: null } : arrived(from)
    if (token === null) return new StoredSession<Data>(context, null, reply, null)
    if (token === duplicate) return refuse('duplicate', null, reply)
    const claim = credentials.read(token)
    if (claim === null) return refuse('malformed', null, reply)
    const record = await store.get(claim.id)
    if (record === null) return refuse('unknown', claim.id, reply)
    const matches = credentials.matches(claim, record.credential)
    if (!(typeof matches === 'boolean' ? matches : await matches)) return refuse('mismatch', claim.id, reply)
    const at = now()
    if (!rules.live(record, at, () => remembered(record))) return refuse('expired', claim.id, reply)
    const session = new StoredSession<Data>(context, record, reply, null)
    if (rules.touchDue(record, at, () => remembered(record))) session.touch(touch(record, at))
    reply?.exchange.dependsOn(reply.transport.reads)
    return session
  }

  function refuse(reason: RefusedReason, id: string | null, reply: Reply | null): Session<Data> {
    emit({ type: 'refused', id, reason })
    return new StoredSession<Data>(context, null, reply, reason)
  }

  async function touch(record: SessionRecord, at: number): Promise<SessionRecord | null> {
    const expiresAt = rules.expiresAt(record.createdAt, at, remembered(record))
    const touched = { ...record, seenAt: at, expiresAt, version: record.version + 1 }
    return (await store.put(touched, record.version)) ? touched : null
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
      const { record, token } = await life.begin({ userId, old: null, take, checkDeliverable: () => {} })
      if (userId !== null) emit({ type: 'signed-in', id: record.id, userId, replaced: null })
      return { session: new StoredSession<Data>(context, record, null, null), token }
    },

    async get(id) {
      const record = credentials.isId(id) ? await store.get(id) : null
      if (record === null || !rules.live(record, now(), () => remembered(record))) return null
      return new StoredSession<Data>(context, record, null, null)
    },

    async list(userId, { current = null } = {}) {
      checkUserId(userId)
      const records = await store.listByUser(userId)
      return records
        .filter((record) => rules.live(record, now(), () => remembered(record)))
        .map(({ id, identity, createdAt, seenAt, expiresAt }) => {
          const { device, amr } = decodeIdentity(identity)
          return { id, current: id === current, device, amr, createdAt, seenAt, expiresAt }
        })
    },

    async end(id) {
      return credentials.isId(id) && (await life.end([id], null, 'ended')).length > 0
    },

    async endUser(userId, { except = null } = {}) {
      checkUserId(userId)
      const ids = (await store.listByUser(userId)).map(({ id }) => id).filter((id) => id !== except)
      return (await life.end(ids, userId, 'ended')).length
    },

    async setRoles(userId, roles) {
      checkUserId(userId)
      const changed = new Set<string>()
      for (let vanished = true, attempt = 1; vanished; attempt++) {
        if (attempt > 10) throw new ConflictError(attempt)
        const records = await store.listByUser(userId)
        const written = await Promise.all(
          records.map((record) => life.change(record, withRoles(roles)).catch(unlessGone)),
        )
        for (const record of written) if (record !== null) changed.add(record.id)
        // One that was replaced meanwhile may have handed its old roles on to a session that was not yet listed.
        vanished = written.includes(null)
      }
      for (const id of changed) emit({ type: 'roles-changed', id, userId, roles })
      return changed.size
    },
  }
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

/** An observer that throws must not change what it observes. */
function observed(onEvent: ((event: SessionEvent) => void) | undefined): (event: SessionEvent) => void {
  if (onEvent === undefined) return () => {}
  return (event) => {
    try {
      // A function that returns a promise is a `() => void` to TypeScript.
      const result = onEvent(event) as unknown
      if (result instanceof Promise) result.catch(failed)
    } catch (error) {
      failed(error)
    }
  }
}

function failed(error: unknown): void {
  console.error('holdfast: onEvent threw', error)
}

function checkOptions({ store, transport, limit, maxDataBytes }: SessionsOptions<Schemas>): void {
  if (typeof store?.put !== 'function')
    throw new ConfigError('store: required, such as memoryStore() or redisStore(client)')
  if (Array.isArray(transport) && transport.length === 0) throw new ConfigError('transport: expected at least one')
  if (limit !== undefined) {
    if (!Number.isInteger(limit.perUser) || limit.perUser < 1)
      throw new ConfigError('limit.perUser: expected 1 or more')
    if (!['end-oldest', 'refuse'].includes(limit.whenReached)) {
      throw new ConfigError("limit.whenReached: expected 'end-oldest' or 'refuse'")
    }
  }
  if (maxDataBytes !== undefined && !(maxDataBytes >= 2))
    throw new ConfigError('maxDataBytes: expected a number of bytes')
}

function checkOrigin(origin: string): string {
  if (URL.canParse(origin) && new URL(origin).origin === origin) return origin
  throw new ConfigError(`trustedOrigins: '${origin}' is no origin; write it as https://accounts.example`)
}
