// How a session begins, changes, is replaced and ends in the store.
import type { Credentials, Issued, Tokens } from './credentials/credentials.ts'
import type { Endings } from './endings.ts'
import { ConflictError, LimitError, SessionGoneError, StoreUnavailableError } from './errors.ts'
import type { EndReason, SessionEvent } from './events.ts'
import { decodeIdentity, encodeIdentity, remembered, type Identity } from './identity.ts'
import { skewMs } from './internal/clock-skew.ts'
import { outcomeUnknown } from './internal/guarded.ts'
import type { Policy } from './policy.ts'
import type { ReadOptions, SessionRecord, Store, SweepableStore } from './store.ts'

/** How many sessions a user may have at once, and what happens to one more. */
export interface Limit {
  readonly perUser: number
  /**
   * `end-oldest` ends the sessions created first. `refuse` throws `LimitError`; of several sign-ins at the same moment it may
   * refuse one that would have fitted, but never lets one in that doesn't.
   */
  readonly whenReached: 'end-oldest' | 'refuse'
}

export interface LifecycleOptions {
  readonly store: Store
  readonly sweepable: SweepableStore | null
  readonly endings: Endings
  readonly policy: Policy
  readonly limit: Limit | null
  readonly now: () => number
  readonly random: (bytes: number) => Uint8Array
  readonly emit: (event: SessionEvent) => void
}

/** What a session is about. */
export interface Content {
  readonly identity: Identity
  readonly data: string
}

/** How a session is to begin. */
export interface Beginning {
  readonly userId: string | null
  /** What kind of credential it gets. */
  readonly credentials: Credentials
  /** The session it takes the place of. */
  readonly old: SessionRecord | null
  /** What it is about, out of the last state of `old`; `null` when there is none, or somebody else ended it. */
  readonly take: Take
  /** Throws when nobody can receive the credential any more. Asked last before `old` ends. */
  readonly checkDeliverable: () => void
}

export interface Begun {
  readonly record: SessionRecord
  readonly tokens: Tokens
  /** It began, but a failure leaves unknown whether `old` ended everywhere and whether its last change was taken along. */
  readonly unsettled: StoreUnavailableError | null
}

export interface Lifecycle {
  /**
   * Writes a new record, then ends `old` in such a way that no acknowledged change of it is lost, neither of data nor of
   * roles. `LimitError`, and `SessionGoneError` when other sign-ins ended it at once.
   */
  begin(beginning: Beginning): Promise<Begun>
  /** Writes what `make(record)` changes, again on the newest record when somebody else wrote first. `SessionGoneError`, `ConflictError`. */
  change(record: SessionRecord, make: Make): Promise<SessionRecord>
  /** The live record. `SessionGoneError`. */
  read(id: string, o?: ReadOptions): Promise<SessionRecord>
  /** The ids that were alive. */
  end(ids: readonly string[], userId: string | null, reason: EndReason): Promise<readonly string[]>
}

type Make = (current: SessionRecord) => Promise<Change>
export type Take = (last: SessionRecord | null) => Content
export type Change = Partial<Omit<SessionRecord, 'id' | 'version'>>

const maxAttempts = 100
/** Long enough for any crowd, short enough for a caller. */
const patienceMs = 5_000
const limitAttempts = 6
/** How long a session lives that counts against a limit and whose beginning is not complete: nobody may ever hold its credential. */
const provisionalMs = 60_000
/** Every so many beginnings pay for the removal of more dead records than they add. */
const sweepEvery = 64
const sweepBatch = 256

export function lifecycle(o: LifecycleOptions): Lifecycle {
  const { store, endings, policy, limit, now, emit } = o
  let beginnings = 0
  let isSweeping = false

  async function begin(beginning: Beginning): Promise<Begun> {
    sweepNowAndThen()
    const { userId, old } = beginning
    if (limit === null || userId === null) return complete(beginning, await write(beginning, now()))
    for (let attempt = 1; ; attempt++) {
      const others = (await counted(userId)).filter(({ id }) => id !== old?.id)
      if (limit.whenReached === 'end-oldest' || others.length < limit.perUser) {
        const written = await write(beginning, now(), provisionalMs, others)
        if (await orUndo(written.record, settleLimit(limit, written.record, userId)))
          return complete(beginning, written)
      } else if (attempt === 1) throw atLimit(userId)
      if (attempt === limitAttempts) throw atLimit(userId)
      await pause(attempt)
    }
  }

  async function write(
    { userId, old, take, credentials }: Beginning,
    at: number,
    livesMs = Infinity,
    others: readonly SessionRecord[] = [],
  ) {
    const issued = await credentials.issue(o.random)
    const { id, kept } = issued
    const { identity, data } = take(old)
    // The newest of them all, also where the clocks of two machines differ: else the limit would end it at once.
    const createdAt = Math.max(at, ...others.map((other) => Math.min(other.createdAt + 1, at + skewMs)))
    const record: SessionRecord = {
      id,
      userId,
      credential: kept,
      identity: encodeIdentity({ ...identity, replaces: replacedBy(userId, old) }),
      data,
      createdAt,
      seenAt: at,
      expiresAt: Math.min(policy.expiresAt(createdAt, at, identity.remembered), at + livesMs),
      epoch: 1,
      version: 1,
    }
    if (!(await store.put(record, null))) throw new ConflictError(1)
    return { record, issued }
  }

  async function complete(
    beginning: Beginning,
    { record: fresh, issued }: { record: SessionRecord; issued: Issued },
  ): Promise<Begun> {
    // Made before `old` ends, since making them may fail: a signed token needs its key.
    const early = await orUndo(fresh, Promise.resolve(issued.tokens(fresh)))
    const { record, unsettled } = await orUndo(fresh, takeOver(beginning, fresh))
    emit({ type: 'started', id: record.id, userId: record.userId })
    return { record, tokens: record === fresh ? early : await issued.tokens(record), unsettled }
  }

  async function takeOver(
    { old, take, checkDeliverable }: Beginning,
    fresh: SessionRecord,
  ): Promise<Omit<Begun, 'tokens'>> {
    checkDeliverable()
    let record = fresh
    let last = old
    /** Whether `old` may have ended: then `record` is all that is left of it, whatever fails. */
    let mayBeGone = false
    try {
      if (old !== null) {
        mayBeGone = endings.announces
        await endings.announce([old.id], 'replaced')
      }
      while (last !== null) {
        // An expired record is a conditional delete: who wrote meanwhile makes it fail, who writes later finds nothing.
        const ended = store.put({ ...last, expiresAt: 0, version: last.version + 1 }, last.version)
        ended.catch((error: unknown) => (mayBeGone ||= outcomeUnknown(error)))
        if (await ended) break
        last = await store.get(last.id)
        const { identity, data } = take(last)
        const replaces = replacedBy(fresh.userId, old)
        record = await change(record, async () => ({ identity: encodeIdentity({ ...identity, replaces }), data }))
      }
      mayBeGone = true
      if (old !== null && last !== null) emit({ type: 'ended', ids: [old.id], userId: old.userId, reason: 'replaced' })
      const expiresAt = policy.expiresAt(record.createdAt, record.seenAt, remembered(record))
      if (record.expiresAt !== expiresAt) record = await change(record, async () => ({ expiresAt }))
    } catch (error) {
      if (old !== null && mayBeGone && error instanceof StoreUnavailableError) return { record, unsettled: error }
      throw error
    }
    return { record, unsettled: null }
  }

  /** Nobody will ever hold the credential of a beginning that failed half-way. */
  async function orUndo<T>({ id }: SessionRecord, rest: Promise<T>): Promise<T> {
    try {
      return await rest
    } catch (error) {
      await store.delete([id]).catch(() => {})
      throw error
    }
  }

  /** A session and the one that is just taking its place count as one, which is the new one. */
  async function counted(userId: string): Promise<readonly SessionRecord[]> {
    const at = now()
    const records = await store.listByUser(userId)
    const live = records.filter((record) => policy.live(record, at, () => remembered(record)))
    const replaced = new Set(live.map(replacedOf))
    return live.filter(({ id }) => !replaced.has(id))
  }

  function atLimit(userId: string): LimitError {
    emit({ type: 'limit-reached', userId })
    return new LimitError('this user has as many sessions as allowed; end one of them first')
  }

  /**
   * Everyone lists after its own write, so whoever comes last sees all: what it leaves is within the limit. `false`: this
   * one had to give way.
   */
  async function settleLimit(
    { perUser, whenReached }: Limit,
    { id: own }: SessionRecord,
    userId: string,
  ): Promise<boolean> {
    const all = await counted(userId)
    if (all.length <= perUser) return true
    if (whenReached === 'refuse') {
      await store.delete([own])
      return false
    }
    // The same order for everyone, so that two sign-ins at once don't end each other.
    const newestFirst = all.toSorted((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1))
    const tooMany = newestFirst.slice(perUser).flatMap((record) => [record.id, replacedOf(record) ?? record.id])
    await end([...new Set(tooMany)], userId, 'limit')
    return true
  }

  async function change(first: SessionRecord, make: Make): Promise<SessionRecord> {
    let current = first
    const giveUpAt = performance.now() + patienceMs
    for (let attempt = 1; ; attempt++) {
      const record = { ...current, ...(await make(current)), version: current.version + 1 }
      if (await store.put(record, current.version)) return record
      if (attempt === maxAttempts || performance.now() > giveUpAt) throw new ConflictError(attempt)
      await pause(attempt)
      current = await read(first.id)
    }
  }

  async function read(id: string, o?: ReadOptions): Promise<SessionRecord> {
    const record = await store.get(id, o)
    if (record === null) throw new SessionGoneError('the session has ended')
    return record
  }

  async function end(ids: readonly string[], userId: string | null, reason: EndReason): Promise<readonly string[]> {
    if (ids.length === 0) return []
    const ended = await endings.end(ids, reason)
    if (ended.length > 0) emit({ type: 'ended', ids: ended, userId, reason })
    return ended
  }

  function sweepNowAndThen(): void {
    if (o.sweepable === null || ++beginnings % sweepEvery !== 0 || isSweeping) return
    isSweeping = true
    o.sweepable
      .sweep(sweepBatch)
      .catch((cause: unknown) => emit({ type: 'sweep-failed', cause }))
      .finally(() => {
        isSweeping = false
      })
  }

  return { begin, change, read, end }
}

/** Of the same user: a guest's counts against no limit. */
function replacedBy(userId: string | null, old: SessionRecord | null): string | null {
  return old !== null && old.userId === userId ? old.id : null
}

function replacedOf({ identity }: SessionRecord): string | null {
  return decodeIdentity(identity).replaces
}

/** None at first, then up to 32 ms, at random, so that those who collided part. */
function pause(attempt: number): Promise<void> {
  if (attempt === 1) return Promise.resolve()
  return new Promise((resolve) => {
    setTimeout(resolve, Math.random() * Math.min(2 ** attempt, 32))
  })
}
