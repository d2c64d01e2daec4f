// What a session may be used for by the next service: never more than by this one.
import { base64url } from '#crypto'
import {
  callersAtMost,
  type Asserting,
  type Credentials,
  type KnownSession,
  type Via,
} from './credentials/credentials.ts'
import { AccessError, ConfigError } from './errors.ts'
import { isGrant, narrowed } from './roles.ts'

const everything = ['*']

export interface AssertingOptions {
  readonly kinds: readonly Credentials[]
  readonly now: () => number
  readonly random: (bytes: number) => Uint8Array
}

/** `sessions.assertionFor`, of a session as far as it is known. */
export function asserting({
  kinds,
  now,
  random,
}: AssertingOptions): (
  known: KnownSession | null,
  audience: string,
  o?: { scope?: readonly string[] | undefined },
) => Promise<string> {
  const kind = kinds.find((each): each is Asserting => each.kind === 'assertion')

  return async (known, audience, { scope = everything } = {}) => {
    if (kind === undefined) throw new ConfigError('credentials: assertionFor needs assertionCredentials() among them')
    if (typeof audience !== 'string' || audience === '') throw new TypeError('audience: expected the name of a service')
    const wrong = scope.find((grant) => !isGrant(grant) || /\s/.test(grant))
    if (wrong !== undefined)
      throw new TypeError(`scope: '${wrong}' is no permission; write 'orders:read', 'orders:*' or '*'`)
    if (known === null) throw new AccessError('unauthenticated', 'there is no session to act for')
    const before = known.via?.callers ?? []
    if (before.length >= callersAtMost) {
      throw new AccessError('forbidden', `the chain of calls is longer than ${callersAtMost} services`)
    }
    const via: Via = {
      transaction: known.via?.transaction ?? base64url(random(16)),
      callers: [...before, kind.service],
      scope: narrowed(known.via?.scope ?? everything, scope),
    }
    return kind.assert(known, audience, via, now(), random)
  }
}
