// What an upstream is told of who calls: the same headers in every answer, so that none that a client sent can be left standing.
import { randomBytes } from 'node:crypto'
import { SessionGoneError, type Session, type Store } from 'holdfast'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import type { Keyring } from 'holdfast/credentials/keyring'
import { tokensClient } from '../clients.ts'
import { inTime } from '../engines/in-time.ts'
import type { AnyData } from '../routes/shown.ts'

/** Names and values by turns, as node:http takes them. */
export type RawHeaders = readonly string[]

/** The identity headers of a session, the last of them with an assertion for `audience` unless that is `null`. */
export type IdentityOf = (session: Session<AnyData>, audience: string | null) => RawHeaders | Promise<RawHeaders>

/** Every header, and that nobody is signed in. */
export const nobody: RawHeaders = [
  'X-Holdfast-User',
  'X-Holdfast-Session',
  'X-Holdfast-Roles',
  'X-Holdfast-Acr',
  'X-Holdfast-Amr',
  'X-Holdfast-Authenticated-At',
  'Txn-Token',
].flatMap((name) => [name, ''])

/** Sessions whose headers are kept. */
const keptAtMost = 10_000

interface Kept {
  readonly epoch: number
  readonly plain: RawHeaders
  readonly asserted: Map<string, { readonly headers: RawHeaders | Promise<RawHeaders>; readonly until: number }>
}

/**
 * An assertion is made once per session, state of its identity and audience, and used for a third of its life: what is left is enough for
 * the call, and a key that was retired is gone from here as soon. Making one reads the record; rejects with `SessionGoneError` when there is none.
 */
export function identities(o: { store: Store; issuer: string; keys: Keyring }): IdentityOf {
  // Nobody else may be called so.
  const assertions = assertionCredentials({ issuer: o.issuer, service: tokensClient, keys: o.keys })
  const kept = new Map<string, Kept>()

  function of(session: Session<AnyData>): Kept {
    const id = session.id!
    const before = kept.get(id)
    if (before?.epoch === session.epoch) return before
    const made = { epoch: session.epoch!, plain: described(session), asserted: new Map() }
    kept.delete(id)
    if (kept.size >= keptAtMost) kept.delete(kept.keys().next().value!)
    kept.set(id, made)
    return made
  }

  async function assert({ id, epoch }: Session<AnyData>, audience: string, plain: RawHeaders) {
    const record = await inTime(o.store.get(id!))
    if (record === null || record.epoch !== epoch) throw new SessionGoneError('the session ended or changed meanwhile')
    const { token, expiresInMs } = await assertions.assert(record, audience, ['*'], Date.now(), randomBytes)
    return { headers: [...plain.slice(0, -1), token], until: performance.now() + expiresInMs / 3 }
  }

  return (session, audience) => {
    const { plain, asserted } = of(session)
    if (audience === null) return plain
    const before = asserted.get(audience)
    if (before !== undefined && performance.now() < before.until) return before.headers
    // One for all who ask meanwhile.
    const making = assert(session, audience, plain)
    const headers = making.then((made) => made.headers)
    asserted.set(audience, { headers, until: Infinity })
    making.then(
      (made) => asserted.set(audience, made),
      () => asserted.delete(audience),
    )
    return headers
  }
}

function described(session: Session<AnyData>): RawHeaders {
  const { userId, id, roles, acr, amr, authenticatedAt } = session
  const values = [
    userId === null ? '' : encoded(userId),
    id!,
    roles.map(encoded).join(','),
    encoded(acr ?? ''),
    amr.map(encoded).join(','),
    authenticatedAt === null ? '' : String(authenticatedAt),
    '',
  ]
  return nobody.map((text, i) => (i % 2 === 0 ? text : values[(i - 1) / 2]!))
}

/** Visible ASCII but `%` and `,` as it is, everything else percent-encoded UTF-8: one line, one value, and `decodeURIComponent` gives it back. */
function encoded(text: string): string {
  return text.replace(/[^!-$&-+\--~]/gu, encodeURIComponent)
}
