// A Holdfast store in the place of connect-redis and the like: for applications that keep express-session.
import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Store as ExpressStore } from 'express-session'
import { sections } from '../data.ts'
import { ConflictError, SessionGoneError } from '../errors.ts'
import type { Feed } from '../feed.ts'
import type { Limits } from '../index.ts'
import { milliseconds } from '../internal/duration.ts'
import type { ScannableStore, SessionRecord, Store } from '../store.ts'
import { tell } from './express/request-keeper.ts'
import { credentialOf, idOf } from './express/old-cookie.ts'
import {
  defaultLifetime,
  keptOf,
  merged,
  nothing,
  ownEnd,
  passportUser,
  section,
  snapshotOf,
  touchDue,
  type Kept,
  type Snapshot,
} from './express/section.ts'
import { RequestSession, storedCookie, type Done, type Keeping } from './express/session.ts'

export { passportUser, userIdOf } from './express/section.ts'

/** Who is told of endings, and how long sessions live whose cookies don't say. What else express-session needs is told to itself. */
export interface ExpressStoreOptions {
  /** That of the processes that cache sessions of this store, which must hear of endings. */
  readonly feed?: Pick<Feed, 'publish'> | undefined
  /** How long a session without a `maxAge` may stay unused, and when every one ends. Default 1 day and 30 days. */
  readonly lifetime?: Limits | undefined
  /** Whose session it is; `null` for nobody's. Default: the user of Passport (`passport.user`, or its `id`). */
  readonly userOf?: ((session: object) => string | null) | undefined
}

/**
 * `app.use(session({ store: asExpressStore(redisStore(client)), … }))`: express-session on a Holdfast store. Its `set` is unconditional;
 * here what a request changed is written key by key, and a session that was destroyed is not made again by a request that read
 * it before: its save fails with `SessionGoneError`. `ConflictError` after 100 conflicts.
 *
 * The records are those of `holdfast/compat/express-session`, so an application can go on to that, and its users stay signed in. The
 * store keeps hashes of the ids that express-session hands out: `all` gives sessions without them. `all`, `length` and
 * `clear` are there for stores that can be scanned.
 */
export function asExpressStore(store: Store, o: ExpressStoreOptions = {}): ExpressStore {
  return new HoldfastStore(store, o) as unknown as ExpressStore
}

/**
 * What a session of express-session is in a Holdfast store. `kept` is its JSON; it expires at `expiresAt`, in ms since the epoch, whatever the
 * cookie in there says: stores that are only touched keep an old one. Its id is the same for the same `sid`, so `put(record, null)` brings it
 * over once. `DataError` when it is larger than 65,536 bytes.
 */
export async function expressRecord(
  sid: string,
  kept: Kept,
  { userId, expiresAt, now }: { userId: string | null; expiresAt: number; now: number },
): Promise<SessionRecord> {
  return {
    id: idOf(sid),
    userId,
    credential: credentialOf(sid),
    identity: '{}',
    data: await parts.compose({ [section]: expiring(kept, expiresAt) }),
    createdAt: now,
    seenAt: now,
    expiresAt,
    epoch: 1,
    version: 1,
  }
}

function expiring(kept: Kept, expiresAt: number): Kept {
  const cookie = kept['cookie'] as { expires?: unknown } | undefined
  if (typeof cookie?.expires !== 'string') return kept
  return { ...kept, cookie: { ...cookie, expires: new Date(expiresAt).toISOString() } }
}

const parts = sections(undefined, 65_536)
const maxAttempts = 100

/** What a request read of a session, or wrote. */
interface Read {
  readonly record: SessionRecord
  readonly data: Snapshot
  readonly user: string | null
}

class HoldfastStore extends EventEmitter {
  readonly #store: Store
  readonly #feed: Pick<Feed, 'publish'> | undefined
  readonly #idleMs: number
  readonly #absoluteMs: number
  readonly #userOf: (session: object) => string | null
  /** What is not in here was not read: it is new. */
  readonly #read = new WeakMap<object, Read>()

  constructor(store: Store, { feed, lifetime = defaultLifetime, userOf = passportUser }: ExpressStoreOptions) {
    super()
    this.#store = store
    this.#feed = feed
    this.#idleMs = milliseconds('lifetime.idle', lifetime.idle)
    this.#absoluteMs = milliseconds('lifetime.absolute', lifetime.absolute)
    this.#userOf = userOf
    if ('scan' in store)
      Object.assign(
        this,
        scanning(store as ScannableStore, (ids) => this.#end(ids)),
      )
  }

  get(sid: string, done: (error: unknown, kept?: object | null) => void): void {
    tell(this.#get(sid), done)
  }
  set(sid: string, session: object, done?: Done): void {
    tell(this.#set(sid, session, keptOf(session)), done)
  }
  touch(sid: string, session: object, done?: Done): void {
    tell(this.#touch(sid, session), done)
  }
  destroy(sid: string, done?: Done): void {
    tell(this.#end([idOf(sid)]), done)
  }
  regenerate(request: Keeping, done: Done): void {
    this.destroy(request.sessionID, (error) => {
      this.generate(request)
      done(error)
    })
  }
  load(sid: string, done: (error: unknown, session?: object) => void): void {
    this.get(sid, (error, kept) => {
      if (error || !kept) return done(error)
      done(null, this.createSession({ sessionID: sid, sessionStore: this }, kept))
    })
  }
  createSession(request: Keeping, kept: object): RequestSession {
    const session = new RequestSession(request, { ...kept, cookie: storedCookie(kept) })
    const read = this.#read.get(kept)
    if (read !== undefined) this.#read.set(session, read)
    request.session = session
    return session
  }
  /** express-session puts its own in here. */
  declare generate: (request: Keeping) => void

  async #get(sid: string): Promise<Kept | null> {
    const record = await this.#store.get(idOf(sid))
    if (record === null) return null
    const kept = { ...((await parts.read(record.data, section)) as Kept | undefined) }
    this.#read.set(kept, { record, data: snapshotOf(kept), user: this.#userOf(kept) })
    return kept
  }

  async #set(sid: string, session: object, mine: Kept): Promise<void> {
    const read = this.#read.get(session)
    const user = this.#userOf(mine)
    let record = read?.record ?? null
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      // What is known otherwise, as of an import, stays.
      const userId = record !== null && user === read?.user ? record.userId : user
      const next = await this.#changed(sid, record, userId, (stored) => merged(stored, read?.data ?? nothing, mine))
      if (await this.#store.put(next, record?.version ?? null)) {
        this.#read.set(session, { record: next, data: snapshotOf(mine), user })
        if (record !== null && next.epoch > record.epoch)
          await this.#feed?.publish({ kind: 'changed', id: next.id, epoch: next.epoch })
        return
      }
      if (attempt > 1) await sleep(Math.random() * Math.min(2 ** attempt, 32))
      record = await this.#store.get(idOf(sid))
      if (record === null && read !== undefined) throw new SessionGoneError('the session has ended')
    }
    throw new ConflictError(maxAttempts)
  }

  async #changed(
    sid: string,
    record: SessionRecord | null,
    userId: string | null,
    change: (stored: Kept) => Kept,
  ): Promise<SessionRecord> {
    const now = Date.now()
    const createdAt = record?.createdAt ?? now
    const stored = record === null ? {} : ((await parts.read(record.data, section)) as Kept | undefined)
    const kept = change(stored ?? {})
    const expiresAt = Math.min(ownEnd(kept['cookie'], now, this.#idleMs), createdAt + this.#absoluteMs)
    if (record === null) return expressRecord(sid, kept, { userId, expiresAt, now })
    const { data } = await parts.write(record.data, section, kept)
    const epoch = record.epoch + (userId === record.userId ? 0 : 1)
    return { ...record, userId, data, seenAt: now, expiresAt, epoch, version: record.version + 1 }
  }

  /** Losing the race to another writer is success. */
  async #touch(sid: string, session: object): Promise<void> {
    const record = this.#read.get(session)?.record ?? (await this.#store.get(idOf(sid)))
    if (record === null) return
    const { cookie } = keptOf(session)
    const stored = ((await parts.read(record.data, section)) as Kept | undefined)?.['cookie']
    if (!touchDue(stored, cookie as object, record.seenAt, this.#idleMs)) return
    const next = await this.#changed(sid, record, record.userId, (kept) => ({ ...kept, cookie }))
    await this.#store.put(next, record.version)
  }

  async #end(ids: readonly string[]): Promise<void> {
    await this.#feed?.publish({ kind: 'ended', ids, reason: 'signed-out' })
    await this.#store.delete(ids)
  }
}

function scanning(store: ScannableStore, end: (ids: readonly string[]) => Promise<void>) {
  async function* pages(): AsyncGenerator<readonly SessionRecord[]> {
    let cursor: string | null = null
    do {
      const page = await store.scan({ limit: 500, ...(cursor === null ? {} : { cursor }) })
      yield page.records.filter(({ data }) => section in (JSON.parse(data) as object))
      ;({ cursor } = page)
    } while (cursor !== null)
  }

  /** By id, since a walk may see one twice. */
  async function all(): Promise<Map<string, unknown>> {
    const found = new Map<string, unknown>()
    for await (const page of pages())
      for (const { id, data } of page) found.set(id, (JSON.parse(data) as Kept)[section])
    return found
  }

  return {
    all: (done: (error: unknown, sessions?: unknown[]) => void) =>
      tell(
        all().then((found) => [...found.values()]),
        done,
      ),
    length: (done: (error: unknown, length?: number) => void) =>
      tell(
        all().then((found) => found.size),
        done,
      ),
    clear: (done?: Done) =>
      tell(
        (async () => {
          for await (const page of pages()) if (page.length > 0) await end(page.map(({ id }) => id))
        })(),
        done,
      ),
  }
}
