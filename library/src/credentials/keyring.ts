// Signing keys that change by themselves: encrypted in a store, shared by all processes, one new key whoever makes it.
import { seal, unseal } from '#cipher'
import { base64url, sha256 } from '#crypto'
import { exportJWK, generateKeyPair } from 'jose'
import { ConfigError, ConflictError, StoreUnavailableError } from '../errors.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import { elapsedClock } from '../internal/elapsed.ts'
import { guarded } from '../internal/guarded.ts'
import type { SessionRecord, Store } from '../store.ts'
import { after } from './after.ts'
import { bytesOf } from './base64url.ts'
import { checkKeySet, publicJwk, type Algorithm, type Jwk } from './jwk.ts'
import { signingKey, type SigningKey, type SigningKeys } from './keys.ts'
import { found, lastGood } from './last-good.ts'
import {
  currentAt,
  followedBy,
  liveAt,
  nextAfter,
  nextDueAt,
  statesAt,
  type KeyInfo,
  type Ring,
  type Schedule,
} from './ring.ts'

export type { KeyInfo, KeyState } from './ring.ts'

/** Where the keys are kept, and how they change: the same for all processes that share them, but for `clock`, `elapsed` and `onChange`. */
export interface KeyringOptions {
  /** Where the keys are: one record, in a place (such as a prefix) that holds no sessions. */
  readonly store: Store
  /** Encrypts them there: 32 random characters or more, the same for all processes (`openssl rand -base64 32`). */
  readonly secret: string
  /** Of new keys. Default `EdDSA`. */
  readonly algorithm?: Exclude<Algorithm, 'HS256'> | undefined
  /** For how long a key signs. Default 30 days. */
  readonly rotateEvery?: Duration | undefined
  /** How long before it signs a key is published, so that everyone who verifies has fetched it by then. Default 1 hour. */
  readonly publishBefore?: Duration | undefined
  /** How long after it signed last a key verifies: no less than the longest lifetime of a token. Default 1 hour. */
  readonly keepFor?: Duration | undefined
  /** Default `Date`. */
  readonly clock?: { now(): number } | undefined
  /** Milliseconds of elapsed time, never going back. Default: the monotonic clock and what a suspended machine slept. */
  readonly elapsed?: (() => number) | undefined
  /** Called, and waited for, after this process changed the keys: publish `{ kind: 'keys' }` there, so that everyone asks anew. */
  readonly onChange?: (() => void | Promise<void>) | undefined
}

/**
 * What can be done with the keys. All but `find`, `current` and `jwks` ask the store, and reject with `StoreUnavailableError` when it
 * fails, with `ConfigError` when the keys in it were encrypted with another secret.
 */
export interface Keyring extends SigningKeys {
  /** Makes a key that is due, and removes those whose time is over. `current` does so in the background; call it at the start and now and then. */
  maintain(): Promise<void>
  /**
   * Publishes the next key ahead of time; it signs after `publishBefore`, or at once if it has been published for so long. `now`: it
   * signs at once in any case, and who verifies must fetch it. Calls at the same moment make one new key.
   */
  rotate(o?: { readonly now?: boolean | undefined }): Promise<void>
  /**
   * The key verifies nothing from now on: every token it signed is refused where they hear of it (`onChange`), and elsewhere within two
   * minutes. If it was the one that signs, another signs at once. `false`: there is no such key.
   */
  retire(kid: string): Promise<boolean>
  /** As they are in the store. */
  list(): Promise<readonly KeyInfo[]>
  refresh(): Promise<void>
}

/** In the form of a session's id, as stores want it. */
const recordId = 'holdfast-keyring00000A'
/** The end of the year 9999, which every engine can keep. */
const never = Date.UTC(9999, 11, 31)
const purpose = 'holdfast keyring'
const maxAgeMs = 60_000
const cooldownMs = 1_000
const deadlineMs = 2_000
const attemptsAtMost = 100

interface Loaded {
  readonly ring: Ring
  readonly keys: ReadonlyMap<string, SigningKey>
}

/**
 * Keys in one record of `store`, read again every half a minute or so, and kept in memory when that fails. The first key is made by
 * whoever needs it first. Schedules are kept whenever keys are used; the keyring has no timers.
 *
 * Throws `ConfigError`, naming the option.
 */
export function keyring(o: KeyringOptions): Keyring {
  const { clock = Date, algorithm = 'EdDSA', secret } = o
  const schedule = scheduled(o)
  if (typeof secret !== 'string' || secret.length < 32)
    throw new ConfigError('secret: expected 32 random characters or more, such as of `openssl rand -base64 32`')
  if (typeof o.store?.put !== 'function') throw new ConfigError('store: required, such as redisStore(client)')
  const now = () => clock.now()
  const store = guarded(o.store, { deadlineMs, now, changed: () => {} })
  const elapsed = o.elapsed ?? elapsedClock()
  const loaded = lastGood<Loaded>({ read, maxAgeMs, cooldownMs, elapsed })
  const sealKey = Promise.resolve(sha256(`holdfast keyring ${secret}`)).then((hash) => bytesOf(hash)!)
  let maintaining: Promise<Loaded> | null = null

  async function read(): Promise<Loaded> {
    const ring = await opened(await store.get(recordId))
    return { ring, keys: new Map(ring.map(({ jwk }) => [jwk.kid, signingKey(jwk)])) }
  }

  async function opened(record: SessionRecord | null): Promise<Ring> {
    if (record === null) return []
    const { sealed } = JSON.parse(record.identity) as { sealed: string }
    const text = await unseal(await sealKey, sealed, purpose)
    if (text === null) throw new ConfigError('secret: the keys in the store were encrypted with another one')
    return JSON.parse(text) as Ring
  }

  /** Writes what `make` makes of the ring, again on the newest one when somebody else wrote first. */
  async function change(make: (ring: Ring, at: number, fresh: () => Promise<Jwk>) => Promise<Ring>): Promise<Loaded> {
    let made: Promise<Jwk> | null = null
    const fresh = () => (made ??= generated(algorithm))
    for (let attempt = 1; ; attempt++) {
      const before = await store.get(recordId)
      const ring = await opened(before)
      const at = now()
      const changed = await make(liveAt(ring, at, schedule), at, fresh)
      if (changed === ring) break
      const sealed = await seal(await sealKey, JSON.stringify(changed), purpose, randomBytes)
      // A machine that slept meanwhile would write a schedule of the past, and drop a key that others go on to sign with.
      if (now() - at > deadlineMs && attempt < attemptsAtMost) continue
      if (await store.put(recordOf(sealed, before, at), before?.version ?? null)) {
        // Here it holds whatever becomes of telling others.
        const mine = await loaded.refresh()
        await o.onChange?.()
        return mine
      }
      if (attempt === attemptsAtMost) throw new ConflictError(attempt)
    }
    return loaded.refresh()
  }

  /** One for all who need it meanwhile. */
  function maintain(): Promise<Loaded> {
    maintaining ??= change(async (ring, at, fresh) => {
      const signsFrom = nextDueAt(ring, at, schedule)
      return signsFrom === null ? ring : followedBy(ring, { jwk: await fresh(), madeAt: at }, signsFrom, at)
    }).finally(() => (maintaining = null))
    return maintaining
  }

  async function firstSigner(): Promise<SigningKey> {
    const made = signerIn(await maintain())
    if (made === null) throw new StoreUnavailableError('the store lost the keys that were just written', deadlineMs)
    return made
  }

  function signerIn({ ring, keys }: Loaded): SigningKey | null {
    const current = currentAt(ring, now())
    return current === null ? null : keys.get(current.jwk.kid)!
  }

  function isDue({ ring }: Loaded): boolean {
    const at = now()
    return nextDueAt(ring, at, schedule) !== null || liveAt(ring, at, schedule) !== ring
  }

  return {
    async maintain() {
      await maintain()
    },
    find: (kid) =>
      found(loaded, ({ ring, keys }) =>
        liveAt(ring, now(), schedule).some(({ jwk }) => jwk.kid === kid) ? keys.get(kid)! : null,
      ),
    current: () =>
      after<Loaded, SigningKey>(loaded.get(), (all) => {
        const key = signerIn(all)
        if (key === null) return firstSigner()
        // When it fails, the next use tries again.
        if (isDue(all)) maintain().catch(() => {})
        return key
      }),
    jwks: () =>
      after(loaded.get(), ({ ring }) => ({
        keys: liveAt(ring, now(), schedule).flatMap(({ jwk }) => publicJwk(jwk) ?? []),
      })),
    async rotate({ now: atOnce = false } = {}) {
      let seen: string | null | undefined
      await change(async (ring, at, fresh) => {
        const current = currentAt(ring, at)?.jwk.kid ?? null
        if (seen === undefined) seen = current
        // Somebody else did it meanwhile.
        if (current !== seen) return ring
        const next = nextAfter(ring, at) ?? { jwk: await fresh(), madeAt: at, signsFrom: Infinity }
        const signsFrom = atOnce || current === null ? at : Math.max(at, next.madeAt + schedule.publishBeforeMs)
        return signsFrom < next.signsFrom ? followedBy(ring, next, signsFrom, at) : ring
      })
    },
    async retire(kid) {
      let was = false
      await change(async (ring, at, fresh) => {
        const key = ring.find(({ jwk }) => jwk.kid === kid)
        was ||= key !== undefined
        if (key === undefined) return ring
        const isCurrent = key === currentAt(ring, at)
        const next = isCurrent ? (nextAfter(ring, at) ?? { jwk: await fresh(), madeAt: at }) : null
        const rest = next === null ? ring : followedBy(ring, next, at, at)
        return rest.filter(({ jwk }) => jwk.kid !== kid)
      })
      // Whoever was told that the first try failed tries again: others have not heard of it then.
      if (!was) await o.onChange?.()
      return was
    },
    async list() {
      return statesAt((await loaded.refresh()).ring, now(), schedule)
    },
    async refresh() {
      await loaded.refresh()
    },
  }
}

function recordOf(sealed: string, before: SessionRecord | null, at: number): SessionRecord {
  return {
    id: recordId,
    userId: null,
    credential: '',
    identity: JSON.stringify({ sealed }),
    data: '{}',
    createdAt: before?.createdAt ?? at,
    seenAt: at,
    expiresAt: never,
    epoch: 1,
    version: (before?.version ?? 0) + 1,
  }
}

async function generated(alg: Algorithm): Promise<Jwk> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true })
  const [jwk] = checkKeySet('keys', [{ ...(await exportJWK(privateKey)), alg, kid: base64url(randomBytes(12)) }])
  return jwk!
}

function scheduled(o: KeyringOptions): Schedule {
  const rotateEveryMs = milliseconds('rotateEvery', o.rotateEvery ?? '30d')
  const publishBeforeMs = milliseconds('publishBefore', o.publishBefore ?? '1h')
  const keepForMs = milliseconds('keepFor', o.keepFor ?? '1h')
  if (publishBeforeMs >= rotateEveryMs) throw new ConfigError('publishBefore: must be shorter than rotateEvery')
  return { rotateEveryMs, publishBeforeMs, keepForMs }
}

function randomBytes(bytes: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(bytes))
}
