// A refresh: one refresh token for the next, each good once, without ever signing out an honest user.
import type { Credentials, Refresh, Tokens } from './credentials/credentials.ts'
import { ConflictError } from './errors.ts'
import type { SessionEvent } from './events.ts'
import { remembered } from './identity.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { Policy } from './policy.ts'
import type { SessionRecord, Store } from './store.ts'
import type { Refusal } from './verification.ts'
import type { Verifier } from './verify/verify.ts'

export interface RefreshingOptions {
  readonly store: Store
  readonly kinds: readonly Credentials[]
  readonly lifecycle: Lifecycle
  readonly verifier: Verifier | null
  readonly policy: Policy
  readonly now: () => number
  readonly random: (bytes: number) => Uint8Array
  readonly emit: (event: SessionEvent) => void
}

export interface Refreshed {
  readonly record: SessionRecord
  readonly tokens: Tokens
}

/** As many as may race for one token, and more. */
const attemptsAtMost = 100

export function refreshing(o: RefreshingOptions): (refreshToken: string) => Promise<Refreshed | Refusal> {
  const { store, verifier, policy, now } = o

  return async (refreshToken) => {
    const { kind, id } = named(refreshToken)
    if (kind === null) return { refused: 'malformed', id }
    for (let attempt = 1; attempt <= attemptsAtMost; attempt++) {
      const record = verifier?.ended(id) === true ? null : await store.get(id)
      if (record === null) return { refused: verifier?.ended(id) === true ? 'ended' : 'unknown', id }
      if (!kind.keeps(record.credential)) return { refused: 'mismatch', id }
      if (!policy.live(record, now(), () => remembered(record))) return { refused: 'expired', id }
      const result = await rotate(kind.refresh!, refreshToken, record)
      if (result !== null) return result
    }
    throw new ConflictError(attemptsAtMost)
  }

  function named(refreshToken: string): { kind: Credentials; id: string } | { kind: null; id: null } {
    if (typeof refreshToken !== 'string') return { kind: null, id: null }
    for (const kind of o.kinds) {
      const id = kind.refresh?.read(refreshToken) ?? null
      if (id !== null) return { kind, id }
    }
    return { kind: null, id: null }
  }

  /** `null`: somebody else wrote first. */
  async function rotate(refresh: Refresh, token: string, record: SessionRecord): Promise<Refreshed | Refusal | null> {
    const { id, userId } = record
    const at = now()
    const rotation = await refresh.rotate(token, record.credential, at, o.random)
    const { outcome } = rotation
    if (outcome === 'mismatch') return { refused: 'mismatch', id }
    if (outcome === 'reused') {
      // Said before it is done, which may fail: somebody holds a copy either way.
      o.emit({ type: 'refreshed', id, userId, outcome })
      await o.lifecycle.end([id], userId, 'refresh-reused')
      return { refused: 'refresh-reused', id }
    }
    let current = record
    if (outcome === 'rotated') {
      const expiresAt = policy.expiresAt(record.createdAt, at, remembered(record))
      current = { ...record, credential: rotation.kept, seenAt: at, expiresAt, version: record.version + 1 }
    }
    // Made before the old one is spent, since making them may fail: a signed token needs its key.
    const tokens = await rotation.tokens(current)
    // The one conditional write is what makes a token good once.
    if (outcome === 'rotated' && !(await store.put(current, record.version))) return null
    o.emit({ type: 'refreshed', id, userId, outcome })
    return { record: current, tokens }
  }
}
