// Asks the store whether a credential opens a session.
import { remembered } from './identity.ts'
import type { Policy } from './policy.ts'
import type { Store } from './store.ts'
import type { Asked, Outcome } from './verification.ts'
import type { Verifier } from './verify/verify.ts'

export interface AskingOptions {
  readonly store: Store
  readonly verifier: Verifier | null
  readonly policy: Policy
  readonly now: () => number
}

export function asking({
  store,
  verifier,
  policy,
  now,
}: AskingOptions): (token: string, presented: Asked) => Promise<Outcome> {
  return async (_token, presented) => {
    const proof = presented.kind === 'proof'
    const id = proof ? presented.known.id : presented.id
    const record = await store.get(id)
    if (record === null) return { refused: proof || verifier?.ended(id) === true ? 'ended' : 'unknown', id }
    if (proof) {
      if (record.epoch > presented.known.epoch) return { refused: 'stale', id }
    } else {
      const matches = presented.matches(record.credential)
      if (!(typeof matches === 'boolean' ? matches : await matches)) return { refused: 'mismatch', id }
    }
    if (!policy.live(record, now(), () => remembered(record))) return { refused: 'expired', id }
    return { known: proof ? presented.known : record, proof }
  }
}
