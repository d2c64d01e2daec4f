// From a credential to the session it opens: by the cache, by its own proof, or by asking who keeps it.
import type { Credentials, KnownSession, Presented } from './credentials/credentials.ts'
import { StoreUnavailableError } from './errors.ts'
import type { RefusedReason, SessionEvent } from './events.ts'
import { sleep } from './internal/timers.ts'
import type { Verified, Verifier } from './verify/verify.ts'

/**
 * What is done while the view of endings is older than `maxStaleness`: `ask-store` at each request; `refuse` everyone with a 503;
 * `trust-signed` tokens until they expire, each time with an event, and ask the store for the others.
 */
export type WhenStale = 'ask-store' | 'refuse' | 'trust-signed'
/** What is done with signed tokens while the store can't be asked: `refuse` with a 503, or `trust-signed` until they expire. */
export type WhenStoreIsDown = 'refuse' | 'trust-signed'

export interface VerificationOptions {
  /**
   * Asks whoever keeps the sessions whether a credential opens one, now. `null`: nobody does, everything is in the credential.
   * Rejects with `StoreUnavailableError` when that can't be known.
   */
  readonly ask: ((token: string, presented: Asked) => Promise<Outcome>) | null
  readonly kinds: readonly Pick<Credentials, 'present'>[]
  readonly verifier: Verifier | null
  /** Whether a session that was asked for before is still within its limits. */
  readonly alive: (known: KnownSession, at: number) => boolean
  readonly maxStalenessMs: number
  readonly whenStale: WhenStale
  readonly whenStoreIsDown: WhenStoreIsDown
  readonly now: () => number
  readonly emit: (event: SessionEvent) => void
}

/** A credential that is well-formed, and its own proof if it has one. */
export type Asked = Exclude<Presented, { kind: 'refused' }>

export interface Refusal {
  readonly refused: RefusedReason
  readonly id: string | null
}

export type Outcome = Verified | Refusal

/** Rejects with `StoreUnavailableError` when it can't be known. At once for what is cached, on Node. `at` is now, in ms since the epoch. */
export type Verify = (token: string, at: number) => Outcome | Promise<Outcome>

/**
 * A look-up that races a change of roles finds the old ones, and the new ones when it looks again: at once in a store, a moment later
 * where it asks a replica of the service that has not heard of the change.
 */
const pausesMs = [0, 25, 250]

export function verification(o: VerificationOptions): Verify {
  const { ask, verifier, now, emit } = o

  /** Of a cached answer only a yes counts: that a session has idled out another process may know better. */
  function stillAlive(found: Verified | null, at: number): Verified | null {
    if (found === null) return null
    const { known, proof } = found
    // What a proof says of its end has the limits in it.
    return (proof ? at < known.expiresAt : o.alive(known, at)) ? found : null
  }

  async function examine(token: string): Promise<Outcome> {
    const pending = presentTo(o.kinds, token, now())
    const presented = pending instanceof Promise ? await pending : pending
    if (presented.kind === 'refused') return { refused: presented.reason, id: presented.id }
    const isStale = verifier !== null && !verifier.fresh()
    if (isStale && o.whenStale === 'refuse') throw tooOld()
    if (presented.kind === 'proof') return byProof(token, presented, isStale)
    return ask === null ? { refused: 'unknown', id: presented.id } : ask(token, presented)
  }

  async function byProof(
    token: string,
    presented: Extract<Asked, { kind: 'proof' }>,
    isStale: boolean,
  ): Promise<Outcome> {
    const { known, lifetimeMs } = presented
    const found = { known, proof: true }
    if (verifier === null ? ask === null : !isStale && (ask === null || verifier.coversAll(lifetimeMs))) return found
    if (isStale && o.whenStale === 'trust-signed') return trusted(found)
    if (ask === null) throw tooOld()
    try {
      return await ask(token, presented)
    } catch (error) {
      if (o.whenStoreIsDown === 'refuse' || !(error instanceof StoreUnavailableError)) throw error
      return trusted(found)
    }
  }

  function trusted(found: Verified): Verified {
    const { id } = found.known
    if (verifier?.ended(id) !== true) emit({ type: 'trusted-stale', id })
    return found
  }

  function tooOld(): StoreUnavailableError {
    return new StoreUnavailableError('the view of endings is too old to tell who may come in', o.maxStalenessMs)
  }

  async function anew(token: string, { once, judge, now: elapsed, deny }: Verifier): Promise<Outcome> {
    const run = async () => {
      const beganAt = elapsed()
      return { beganAt, outcome: await examine(token) }
    }
    let alone = false
    for (let look = 1; ; look++) {
      const { result, shared } = alone ? { result: await run(), shared: false } : await once(token, run)
      const { beganAt, outcome } = result
      if ('refused' in outcome) {
        const { refused, id } = outcome
        // Whoever keeps the sessions may know it before the feed says so; other credentials of it must not be believed any longer.
        if (id !== null && refused === 'ended') deny(id)
        return outcome
      }
      const judgement = await judge(token, beganAt, outcome)
      if (judgement === 'good') return outcome
      const { id } = outcome.known
      if (judgement === 'ended') return { refused: 'ended', id }
      if (judgement === 'unsure') {
        if (!shared) return outcome
        // Somebody else's look-up may have begun before this request, and only a young view makes up for that.
        alone = true
        continue
      }
      if (outcome.proof || look > pausesMs.length) return { refused: 'stale', id }
      await sleep(pausesMs[look - 1]!)
    }
  }

  return (token, at) => {
    if (typeof token !== 'string') return { refused: 'malformed', id: null }
    if (verifier === null) return examine(token)
    const found = verifier.find(token)
    if (found instanceof Promise) return found.then((late) => stillAlive(late, at) ?? anew(token, verifier))
    return stillAlive(found, at) ?? anew(token, verifier)
  }
}

/** What the first kind says of a token whose form it knows. */
export function presentTo(
  kinds: VerificationOptions['kinds'],
  token: string,
  now: number,
): Presented | Promise<Presented> {
  let refused: Presented = { kind: 'refused', reason: 'malformed', id: null }
  for (const kind of kinds) {
    const presented = kind.present(token, now)
    if (presented === null) continue
    // A token of another type may be another kind's.
    if (presented instanceof Promise || presented.kind !== 'refused' || presented.reason !== 'token-type')
      return presented
    refused = presented
  }
  return refused
}
