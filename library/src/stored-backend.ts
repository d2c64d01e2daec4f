// A session's data and its changes, on a store.
import type { Backend, Begun } from './backend.ts'
import type { Asserting, Credentials, KnownSession } from './credentials/credentials.ts'
import { noData, pick, type Sections } from './data.ts'
import type { Device } from './device.ts'
import { ConfigError, SessionGoneError } from './errors.ts'
import { decodeIdentity, nobody, remembered, type Identity } from './identity.ts'
import type { Beginning, Lifecycle } from './lifecycle.ts'
import type { Policy } from './policy.ts'
import type { SignInOptions } from './session.ts'
import type { SessionRecord } from './store.ts'

export interface StoredBackendOptions {
  readonly lifecycle: Lifecycle
  readonly sections: Sections
  readonly policy: Policy
  /** The first is that of new sessions. */
  readonly kinds: readonly Credentials[]
  /** A live session by its id. */
  readonly find: (id: string) => Promise<SessionRecord | null>
  readonly now: () => number
  readonly random: (bytes: number) => Uint8Array
}

export function storedBackend(o: StoredBackendOptions): Backend {
  const { lifecycle, sections, policy, kinds, now } = o
  const { reissue } = kinds[0]!
  const assertions = kinds.find((kind): kind is Asserting => kind.kind === 'assertion')

  /** The kind a session was begun with, which its successor gets too. */
  function kindOf(record: SessionRecord | null): Credentials {
    return kinds.find((kind) => record !== null && kind.keeps(record.credential)) ?? kinds[0]!
  }

  /** The store is asked where only the identity is known. */
  async function whole(known: KnownSession): Promise<SessionRecord> {
    return known.data === null ? lifecycle.read(known.id, { mayLag: true }) : { ...known, data: known.data }
  }

  async function changed(data: string, section: string, fn: (value: unknown) => unknown) {
    return sections.write(data, section, await fn(await sections.read(data, section)))
  }

  async function begin(beginning: Omit<Beginning, 'credentials'>): Promise<Begun> {
    const begun = await lifecycle.begin({ ...beginning, credentials: kindOf(beginning.old) })
    return { known: begun.record, tokens: begun.tokens, unsettled: begun.unsettled }
  }

  return {
    async read(known, section) {
      const record = known === null ? null : await whole(known)
      return { known: record, value: await sections.read(record?.data ?? noData, section) }
    },

    async guest(section, fn) {
      const { data, value } = await changed(noData, section, fn)
      const take = (device: Device) => () => ({ identity: { ...nobody, device }, data })
      return {
        value,
        begin: ({ device, checkDeliverable }) =>
          begin({ userId: null, old: null, take: take(device), checkDeliverable }),
      }
    },

    async update(known, section, fn) {
      let value: unknown
      const record = await lifecycle.change(await whole(known), async (current) => {
        const made = await changed(current.data, section, fn)
        value = made.value
        const at = now()
        // The store may not have noticed, and `fn` takes its time: what has expired must not be extended.
        if (!policy.live(current, at, () => remembered(current))) throw new SessionGoneError('the session has expired')
        return { data: made.data, seenAt: at, expiresAt: policy.expiresAt(current.createdAt, at, remembered(current)) }
      })
      return { known: record, value }
    },

    async signIn({ userId, old: known, o, device, checkDeliverable }) {
      const again = known?.userId === userId
      const old = known === null ? null : await whole(known).catch(unlessGone)
      const carry = o.carry ?? (old === null || old.userId === null || again ? null : [])
      const take = (last: SessionRecord | null) => {
        // Who was signed out everywhere meanwhile does not sign in again by a request that was under way.
        if (again && last === null) throw new SessionGoneError('the session was ended meanwhile; sign in anew')
        const before = last === null ? nobody : decodeIdentity(last.identity)
        // Of another user's session, or a guest's, only through which client it came is still true.
        const kept = last?.userId === userId ? before : { ...nobody, client: before.client }
        return {
          identity: identityOf(policy, o, kept, device),
          // What an ended session held is not brought back.
          data: last === null ? noData : carry === null ? last.data : pick(last.data, carry),
        }
      }
      return begin({ userId, old, take, checkDeliverable })
    },

    async end({ id, userId }) {
      await lifecycle.end([id], userId, 'signed-out')
    },

    async assert({ known, audience, scope }) {
      if (assertions === undefined)
        throw new ConfigError('credentials: assertionFor needs assertionCredentials() among them')
      // It may have been opened long ago, and a service that begins to follow the feed now never heard of an ending before that.
      const record = await o.find(known.id)
      if (record === null) throw new SessionGoneError('the session has ended')
      return (await assertions.assert({ ...record, via: known.via }, audience, scope, now(), o.random)).token
    },

    reissue: reissue === null ? null : async (known) => reissue(await whole(known)),
    endsAt: (known) => policy.endsAt(known.createdAt, remembered(known)),
    maxAgeMs: (known) => (remembered(known) ? policy.endsAt(known.createdAt, true) - now() : null),
  }
}

function unlessGone(error: unknown): null {
  if (error instanceof SessionGoneError) return null
  throw error
}

/** What `o` says, and `kept` where it says nothing. */
export function identityOf(policy: Policy, o: SignInOptions<never>, kept: Identity, device: Device): Identity {
  if (o.remember === true && !policy.remembers) {
    throw new ConfigError('remember: set lifetime.remember, such as { idle: "14d", absolute: "90d" }')
  }
  return {
    roles: o.roles ?? kept.roles,
    claims: o.claims ?? kept.claims,
    // They belong to the act of authentication, and a session is never rated higher than that was.
    amr: o.amr ?? [],
    acr: o.acr ?? null,
    device,
    remembered: policy.remembers && (o.remember ?? kept.remembered),
    client: o.client ?? kept.client,
    replaces: null,
  }
}
