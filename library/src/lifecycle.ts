// How a session begins, changes, is replaced and ends in the store.
import type { Credentials } from './credentials/credentials.ts'
import { ConflictError, LimitError, SessionGoneError } from './errors.ts'
import type { EndReason, SessionEvent } from './events.ts'
import { encodeIdentity, remembered, type Identity } from './identity.ts'
import type { Policy } from './policy.ts'
import type { SessionRecord, Store, SweepableStore } from './store.ts'

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
  readonly credentials: Credentials
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

/** What a new session begins with. */
export interface Beginning extends Content {
  readonly userId: string | null
  /** The session it will take the place of, which does not count against the limit. */
  readonly replaces: string | null
}

export interface Lifecycle {
  begin(o: Beginning): Promise<{ record: SessionRecord; token: string }>
  /** Writes what `make(record)` changes, again on the newest record when somebody else wrote first. `SessionGoneError`, `ConflictError`. */
  change(record: SessionRecord, make: Make): Promise<SessionRecord>
  /**
   * Ends `old`, out of which `fresh` was made, and answers `fresh` as `take` makes it of the last state of `old`: no
   * acknowledged change is lost, neither of data nor of roles. `take(null)` when somebody else ended `old`.
   */
  replace(old: SessionRecord, fresh: SessionRecord, take: Take): Promise<SessionRecord>
  /** The ids that were alive. */
  end(ids: readonly string[], userId: string | null, reason: EndReason): Promise<readonly string[]>
}

type Make = (current: SessionRecord) => Promise<Change>
type Take = (last: SessionRecord | null) => Content
export type Change = Partial<Omit<SessionRecord, 'id' | 'version'>>

const maxAttempts = 100
const limitAttempts = 6
/** Every so many beginnings pay for the removal of more dead records than they add. */
const sweepEvery = 64
const sweepBatch = 256

export function lifecycle(o: LifecycleOptions): Lifecycle {
  const { store, credentials, policy, limit, now, emit } = o
  let beginnings = 0

  async function begin(beginning: Beginning): Promise<{ record: SessionRecord; token: string }> {
    const { userId, identity, data, replaces } = beginning
    sweepNowAndThen()
    const encoded = encodeIdentity(identity)
    for (let attempt = 1; ; attempt++) {
      if (limit?.whenReached === 'refuse' && userId !== null) await refuseAtLimit(limit, userId, replaces)
      const { id, token, kept } = await credentials.issue(o.random)
      const at = now()
      const record: SessionRecord = {
        id,
        userId,
        credential: kept,
        identity: encoded,
        data,
        createdAt: at,
        seenAt: at,
        expiresAt: policy.expiresAt(at, at, identity.remembered),
        epoch: 1,
        version: 1,
      }
      if (!(await store.put(record, null))) throw new ConflictError(1)
      if (limit === null || userId === null || (await orUndo(record, settleLimit(limit, record, replaces)))) {
        emit({ type: 'started', id, userId })
        return { record, token }
      }
      if (attempt === limitAttempts) throw atLimit(userId)
      await pause(attempt)
    }
  }

  /** Nobody will ever hold the credential of a beginning that failed half-way; it should not fill the user's limit. */
  async function orUndo<T>({ id }: SessionRecord, rest: Promise<T>): Promise<T> {
    try {
      return await rest
    } catch (error) {
      await store.delete([id]).catch(() => {})
      throw error
    }
  }

  async function refuseAtLimit({ perUser }: Limit, userId: string, replaces: string | null): Promise<void> {
    const others = await counted(userId, replaces)
    if (others.length >= perUser) throw atLimit(userId)
  }

  async function counted(userId: string, replaces: string | null): Promise<readonly SessionRecord[]> {
    const at = now()
    const records = await store.listByUser(userId)
    return records.filter((record) => record.id !== replaces && policy.live(record, at, () => remembered(record)))
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
    record: SessionRecord,
    replaces: string | null,
  ): Promise<boolean> {
    const all = await counted(record.userId!, replaces)
    if (all.length <= perUser) return true
    if (whenReached === 'refuse') {
      await store.delete([record.id])
      return false
    }
    // The same order for everyone, so that two sign-ins at once don't end each other.
    const newestFirst = all.toSorted((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1))
    const tooMany = newestFirst.slice(perUser).map(({ id }) => id)
    await end(tooMany, record.userId, 'limit')
    return true
  }

  async function change(first: SessionRecord, make: Make): Promise<SessionRecord> {
    let current = first
    for (let attempt = 1; ; attempt++) {
      const record = { ...current, ...(await make(current)), version: current.version + 1 }
      if (await store.put(record, current.version)) return record
      if (attempt === maxAttempts) throw new ConflictError(attempt)
      await pause(attempt)
      current = await read(first.id)
    }
  }

  async function read(id: string): Promise<SessionRecord> {
    const record = await store.get(id)
    if (record === null) throw new SessionGoneError('the session has ended')
    return record
  }

  function replace(old: SessionRecord, fresh: SessionRecord, take: Take): Promise<SessionRecord> {
    return orUndo(fresh, takeOver(old, fresh, take))
  }

  async function takeOver(old: SessionRecord, fresh: SessionRecord, take: Take): Promise<SessionRecord> {
    let last: SessionRecord | null = old
    let result = fresh
    // An expired record is a conditional delete: who wrote meanwhile makes it fail, who writes later finds nothing.
    while (last !== null && !(await store.put({ ...last, expiresAt: 0, version: last.version + 1 }, last.version))) {
      last = await store.get(old.id)
      const { identity, data } = take(last)
      const expiresAt = policy.expiresAt(fresh.createdAt, fresh.seenAt, identity.remembered)
      result = await change(result, async () => ({ identity: encodeIdentity(identity), data, expiresAt }))
    }
    if (last !== null) emit({ type: 'ended', ids: [old.id], userId: old.userId, reason: 'replaced' })
    return result
  }

  async function end(ids: readonly string[], userId: string | null, reason: EndReason): Promise<readonly string[]> {
    if (ids.length === 0) return []
    const ended = await store.delete(ids)
    if (ended.length > 0) emit({ type: 'ended', ids: ended, userId, reason })
    return ended
  }

  function sweepNowAndThen(): void {
    if (o.sweepable === null || ++beginnings % sweepEvery !== 0) return
    o.sweepable.sweep(sweepBatch).catch((cause: unknown) => emit({ type: 'sweep-failed', cause }))
  }

  return { begin, change, replace, end }
}

/** None at first, then up to 32 ms, at random, so that those who collided part. */
function pause(attempt: number): Promise<void> {
  if (attempt === 1) return Promise.resolve()
  return new Promise((resolve) => {
    setTimeout(resolve, Math.random() * Math.min(2 ** attempt, 32))
  })
}
