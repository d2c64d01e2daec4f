// Sessions encrypted at rest: a wrapper over any store, whose engine can neither read nor change what a session says.
import { room, writeBase64url } from '#bytes'
import { seal, unseal } from '#cipher'
import { sha256 } from '#crypto'
import { ConfigError } from '../errors.ts'
import type { ScannableStore, SessionRecord, Store, SweepableStore } from '../store.ts'

/** What the inner store can do, and no more. */
export type Encrypted<S extends Store> = Pick<S, Extract<keyof S, keyof SweepableStore | keyof ScannableStore>>

/**
 * Keeps `identity` (roles, claims, device) and `data` of every session in `store` as AES-256-GCM, bound to everything else in the record: who
 * can write to the engine can end sessions and put back an older state of one as a whole, but neither make one up nor give it to another user,
 * extend it, or put parts of two together.
 *
 * **What stays readable:** ids, user ids, hashes of credentials, instants, versions, and how long the texts are. They grow by a third and 52 bytes.
 *
 * `keys` are secrets of 32 characters or more, made at random (`openssl rand -base64 32`). The first one encrypts, every one decrypts; a session
 * is encrypted anew with its next write. Processes roll over one by one, so a new key goes to the end first, then to the front, and
 * the old one leaves when the sessions that it encrypted have run out. A key is good for 2^32 writes.
 *
 * The word `plain` stands for no encryption and takes part in that: with live sessions, deploy `['plain', key]`, then `[key, 'plain']`, then
 * `[key]`. While it is there, who can write to the engine can make sessions up.
 *
 * `get` rejects what it can't decrypt: with a `ConfigError` when the key is missing, else as a failure of the engine. Ending needs no key. In
 * lists and scans such a session has neither identity nor data, `{}`, so that ending all of a user's reaches it; to copy a store, copy the inner one.
 *
 * Throws `ConfigError` when a key is short, missing or there twice.
 */
export function encrypted<S extends Store>(store: S, keys: string | readonly string[]): Encrypted<S> {
  const ring = Promise.all(check(keys).map(derived))
  // Whoever calls first hears of it.
  ring.catch(() => {})

  async function closed(record: SessionRecord): Promise<SessionRecord> {
    const [first] = await ring
    if (first === undefined || first === null) return record
    const text = async (field: Field) => {
      const sealed = await seal(first.bytes, record[field], purposeOf(record, field, first), unpredictable)
      return `${mark}${first.kid}.${sealed}`
    }
    return { ...record, identity: await text('identity'), data: await text('data') }
  }

  async function opened(record: SessionRecord): Promise<SessionRecord> {
    const all = await ring
    const text = async (field: Field) => {
      const [, kid, sealed] = form.exec(record[field]) ?? []
      const key = all.find((one) => (one === null ? undefined : one.kid) === kid)
      if (key === undefined) throw missing(kid)
      if (key === null) return record[field]
      const text = await unseal(key.bytes, sealed!, purposeOf(record, field, key))
      if (text === null) throw new Error('the stored record of a session was changed by somebody else than Holdfast')
      return text
    }
    return { ...record, identity: await text('identity'), data: await text('data') }
  }

  function listed(records: readonly SessionRecord[]): Promise<SessionRecord[]> {
    return Promise.all(records.map((record) => opened(record).catch(() => ({ ...record, identity: '{}', data: '{}' }))))
  }

  const wrapped: Store & Partial<SweepableStore & ScannableStore> = {
    async get(id, o) {
      const record = await store.get(id, o)
      return record === null ? null : opened(record)
    },
    put: async (record, expected, o) => store.put(await closed(record), expected, o),
    delete: (ids, o) => store.delete(ids, o),
    listByUser: async (userId, o) => listed(await store.listByUser(userId, o)),
  }
  if (can<SweepableStore>(store, 'sweep')) wrapped.sweep = (limit) => store.sweep(limit)
  if (can<ScannableStore>(store, 'scan')) {
    wrapped.scan = async (o) => {
      const { records, cursor } = await store.scan(o)
      return { records: await listed(records), cursor }
    }
  }
  return wrapped as unknown as Encrypted<S>
}

type Field = 'identity' | 'data'

interface Key {
  readonly kid: string
  readonly bytes: Uint8Array
}

const plain = 'plain'
const mark = 'e1.'
const form = /^e1\.([\w-]{8})\.([\w-]+)$/

/** What a text is bound to: the format, the key, its field, and all the rest of its record as it is in this version. */
function purposeOf(record: SessionRecord, field: Field, { kid }: Key): string {
  const { id, userId, credential, createdAt, seenAt, expiresAt, epoch, version } = record
  const rest = [id, userId, credential, createdAt, seenAt, expiresAt, epoch, version]
  return JSON.stringify(['holdfast encrypted', 'v1', kid, field, ...rest])
}

function missing(kid: string | undefined): ConfigError {
  return new ConfigError(
    kid === undefined
      ? `keys: a session in the store is not encrypted; if that is right, put '${plain}' last among the keys until all have been written again`
      : `keys: a session was encrypted with the key ${kid}, which is not among them; keep a key until its sessions have run out`,
  )
}

function check(keys: string | readonly string[]): readonly string[] {
  const secrets = [keys].flat()
  if (!secrets.some((secret) => secret !== plain)) throw new ConfigError('keys: expected at least one')
  if (!secrets.every((secret) => secret === plain || (typeof secret === 'string' && secret.length >= 32)))
    throw new ConfigError('keys: expected 32 random characters or more each, such as of `openssl rand -base64 32`')
  if (new Set(secrets).size < secrets.length) throw new ConfigError('keys: one of them is there twice')
  return secrets
}

/** `null` stands for no encryption. */
async function derived(secret: string): Promise<Key | null> {
  if (secret === plain) return null
  const hash = (use: string) => sha256(JSON.stringify([`holdfast encrypted v1 ${use}`, secret]))
  const bytes = room(32)
  writeBase64url(bytes, await hash('key'), 0, 32)
  return { kid: (await hash('kid')).slice(0, 8), bytes }
}

/** Two texts of one nonce would give the key's secrets away, so always the runtime's own. */
function unpredictable(bytes: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(bytes))
}

function can<S extends Store>(store: Store, member: keyof S): store is S {
  return member in store
}
