// The session of one request, on a store.
import type { Credentials, KnownSession, Tokens } from './credentials/credentials.ts'
import { noData, pick, type Sections } from './data.ts'
import { describe, parseUserAgent, type Device } from './device.ts'
import { AccessError, ConfigError, CredentialError, DataError, SessionGoneError } from './errors.ts'
import type { RefusedReason, SessionEvent } from './events.ts'
import { decodeIdentity, remembered, type Identity } from './identity.ts'
import { milliseconds, type Duration } from './internal/duration.ts'
import type { Lifecycle, Take } from './lifecycle.ts'
import type { Policy } from './policy.ts'
import type { Grants } from './roles.ts'
import type { Requirement, Session, SignInOptions } from './session.ts'
import type { SessionRecord } from './store.ts'
import type { Exchange, HeaderOf, Transport } from './transport/transport.ts'

/** What a session works with; one for all sessions of a `Sessions`. */
export interface SessionContext {
  readonly lifecycle: Lifecycle
  /** The kind by which a session's own `credential` was kept; that of new sessions for `null`. */
  readonly kindOf: (record: SessionRecord | null) => Credentials
  readonly sections: Sections
  readonly policy: Policy
  readonly grants: Grants
  readonly now: () => number
  readonly emit: (event: SessionEvent) => void
}

/** Where a new credential goes. */
export interface Reply {
  readonly exchange: Exchange
  readonly transport: Transport
}

/** The one implementation on a store. */
export class StoredSession<Data> implements Session<Data> {
  readonly refused: RefusedReason | null
  readonly #context: SessionContext
  readonly #reply: Reply | null
  #record: KnownSession | null
  #identity: Identity | null = null
  #ended = false
  /** A write under way that makes `#record` newer. */
  #pending: Promise<unknown> | null = null

  constructor(
    context: SessionContext,
    record: KnownSession | null,
    reply: Reply | null,
    refused: RefusedReason | null,
  ) {
    this.#context = context
    this.#record = record
    this.#reply = reply
    this.refused = refused
  }

  get id(): string | null {
    return this.#record?.id ?? null
  }
  get userId(): string | null {
    return this.#record?.userId ?? null
  }
  get roles(): readonly string[] {
    return this.#who?.roles ?? []
  }
  get claims(): Readonly<Record<string, unknown>> {
    return this.#who?.claims ?? {}
  }
  get amr(): readonly string[] {
    return this.#who?.amr ?? []
  }
  get acr(): string | null {
    return this.#who?.acr ?? null
  }
  get device(): Device | null {
    return this.#who?.device ?? null
  }
  get client(): string | null {
    return this.#who?.client ?? null
  }
  get authenticatedAt(): number | null {
    // Every authentication makes a new record.
    return this.userId === null ? null : this.#record!.createdAt
  }
  get expiresAt(): number | null {
    return this.#record?.expiresAt ?? null
  }

  /** Decoded when first asked for: most requests want the user's id alone. */
  get #who(): Identity | null {
    if (this.#record === null) return null
    this.#identity ??= decodeIdentity(this.#record.identity)
    return this.#identity
  }

  can(permission: string): boolean {
    return this.userId !== null && this.#context.grants(this.roles, permission)
  }

  authenticatedWithin(duration: Duration): boolean {
    const at = this.authenticatedAt
    return at !== null && this.#context.now() - at <= milliseconds('authenticatedWithin', duration)
  }

  require(what: string | Requirement): void {
    const { permission, within, acr, amr } = typeof what === 'string' ? { permission: what } : what
    if (this.userId === null) throw this.#denied('unauthenticated', 'sign in first')
    if (permission !== undefined && !this.can(permission))
      throw this.#denied('forbidden', `missing permission: ${permission}`)
    if (within !== undefined && !this.authenticatedWithin(within)) {
      throw this.#denied('authentication-too-old', `sign in again: this needs an authentication within ${within}`)
    }
    if (acr !== undefined && (this.acr === null || !acr.includes(this.acr))) {
      throw this.#denied('assurance-too-low', `step up: this needs assurance ${acr.join(' or ')}`)
    }
    if (amr !== undefined && !this.amr.includes(amr)) {
      throw this.#denied('assurance-too-low', `step up: this needs authentication by ${amr}`)
    }
  }

  #denied(code: AccessError['code'], message: string): AccessError {
    this.#context.emit({ type: 'denied', id: this.id, userId: this.userId, missing: message })
    return new AccessError(code, message)
  }

  async read<K extends keyof Data & string>(section: K): Promise<Data[K]> {
    const record = await this.#whole()
    return this.#context.sections.read(record?.data ?? noData, section) as Promise<Data[K]>
  }

  /** With its data, for which the store is asked where only the identity is known. `SessionGoneError` when it is not there any more. */
  async #whole(): Promise<SessionRecord | null> {
    const known = this.#record
    if (known === null || isWhole(known)) return known
    const record = await this.#context.lifecycle.read(known.id)
    this.#renew(record)
    return record
  }

  async update<K extends keyof Data & string>(
    section: K,
    fn: (value: Data[K]) => Data[K] | Promise<Data[K]>,
  ): Promise<Data[K]> {
    for (let write; (write = this.#underWay()) !== null;) await write
    if (this.#record === null) {
      this.#checkGuest()
      const made = await this.#make(noData, section, fn)
      // Two first updates make one session: whoever comes second updates it.
      for (let write; (write = this.#underWay()) !== null;) await write
      if (this.#record === null) {
        await this.#pend(this.#beginGuest(made.data))
        return made.value as Data[K]
      }
    }
    const { lifecycle, policy, now } = this.#context
    if (this.#context.kindOf(null).reissue !== null) this.#checkDeliverable()
    let value: unknown
    const changed = await lifecycle.change((await this.#whole())!, async (current) => {
      const made = await this.#make(current.data, section, fn)
      value = made.value
      const at = now()
      // The store may not have noticed, and `fn` takes its time: what has expired must not be extended.
      if (!policy.live(current, at, () => remembered(current))) throw new SessionGoneError('the session has expired')
      return { data: made.data, seenAt: at, expiresAt: policy.expiresAt(current.createdAt, at, remembered(current)) }
    })
    await this.#reissue(changed)
    this.#renew(changed)
    return value as Data[K]
  }

  async #make(data: string, section: string, fn: (value: never) => unknown): Promise<{ data: string; value: unknown }> {
    const { sections } = this.#context
    return sections.write(data, section, await fn((await sections.read(data, section)) as never))
  }

  #checkGuest(): void {
    if (this.#ended) throw new SessionGoneError('the session was ended by this request')
    this.#checkDeliverable()
    if (this.#reply?.transport.ambient !== true) {
      throw new CredentialError('undeliverable', 'there is no cookie to begin a guest session with; use start(null)')
    }
  }

  async #beginGuest(data: string): Promise<void> {
    const identity = { ...nobody, device: this.#deviceNow() }
    await this.#begin(null, null, () => ({ identity, data }))
  }

  async signIn(userId: string, o: SignInOptions<Data> = {}): Promise<Tokens> {
    checkUserId(userId)
    for (let write; (write = this.#underWay()) !== null;) await write
    this.#checkDeliverable()
    return this.#pend(this.#beginUser(userId, o))
  }

  async #beginUser(userId: string, o: SignInOptions<Data>): Promise<Tokens> {
    const { policy, emit } = this.#context
    const old = await this.#whole().catch((error: unknown) => {
      if (error instanceof SessionGoneError && this.#record?.userId !== userId) return null
      throw error
    })
    const again = old?.userId === userId
    const device = this.#deviceNow()
    const carry = o.carry ?? (old === null || old.userId === null || again ? null : [])
    const { id, tokens } = await this.#begin(userId, old, (last) => {
      // Who was signed out everywhere meanwhile does not sign in again by a request that was under way.
      if (again && last === null) throw new SessionGoneError('the session was ended meanwhile; sign in anew')
      return {
        identity: identityOf(policy, o, last?.userId === userId ? decodeIdentity(last.identity) : nobody, device),
        // What an ended session held is not brought back.
        data: last === null ? noData : carry === null ? last.data : pick(last.data, carry),
      }
    })
    emit({ type: 'signed-in', id, userId, replaced: old?.id ?? null })
    return tokens
  }

  async #begin(userId: string | null, old: SessionRecord | null, take: Take): Promise<{ id: string; tokens: Tokens }> {
    const { lifecycle, kindOf } = this.#context
    const checkDeliverable = () => this.#checkDeliverable()
    const credentials = kindOf(old)
    const { record, tokens, unsettled } = await lifecycle.begin({ userId, credentials, old, take, checkDeliverable })
    this.adopt(record, tokens)
    // The client has the new credential, since the old one may be dead; but what was asked for is not sure to hold.
    if (unsettled !== null) throw unsettled
    return { id: record.id, tokens }
  }

  async end(): Promise<void> {
    for (let write; (write = this.#underWay()) !== null;) await write
    return this.#pend(this.#finish())
  }

  async #finish(): Promise<void> {
    const record = this.#record
    if (record !== null) await this.#context.lifecycle.end([record.id], record.userId, 'signed-out')
    this.#record = null
    this.#identity = null
    this.#ended = true
    if (this.#reply === null || this.#reply.exchange.headersSent) return
    const { transport } = this.#reply
    for (const one of [transport, transport.refresh]) if (one !== null) this.#send(one, one.clear(this.#header))
  }

  /** Extends the idle end in the background. Losing the race to another writer is success: that one extended it too. */
  touch(write: Promise<SessionRecord | null>): void {
    this.#pend(
      write.then((touched) => {
        if (touched !== null) this.#renew(touched)
      }),
    ).catch((cause: unknown) => this.#context.emit({ type: 'touch-failed', id: this.id!, cause }))
  }

  /** Extends the idle end where the session itself is in the client's hands. Too late for that is no harm: the next request does it. */
  async extend(): Promise<void> {
    const { policy, now } = this.#context
    if (this.#reply === null || this.#reply.exchange.headersSent) return
    const record = (await this.#whole())!
    const at = now()
    const expiresAt = policy.expiresAt(record.createdAt, at, remembered(record))
    const extended = { ...record, seenAt: at, expiresAt, version: record.version + 1 }
    await this.#reissue(extended)
    this.#renew(extended)
  }

  /** Resolves when the write that is under way has settled; `null` when there is none. */
  #underWay(): Promise<unknown> | null {
    return this.#pending?.catch(ignore) ?? null
  }

  #pend<T>(write: Promise<T>): Promise<T> {
    this.#pending = write.finally(() => {
      this.#pending = null
    })
    return this.#pending as Promise<T>
  }

  /** Answers may come late: only a newer state of the same session counts. */
  #renew(record: SessionRecord): void {
    if (this.#record?.id !== record.id || this.#record.version > record.version) return
    this.#record = record
    this.#identity = null
  }

  /** The session is this one from now on, and the client gets its tokens. */
  adopt(record: SessionRecord, tokens: Tokens): void {
    this.#record = record
    this.#identity = null
    this.#ended = false
    this.#hand(record, tokens)
  }

  /** Where the session itself is in the client's hands, each change gives it a new one. */
  async #reissue(record: SessionRecord): Promise<void> {
    const { reissue } = this.#context.kindOf(record)
    if (reissue !== null) this.#hand(record, await reissue(record))
  }

  #hand(record: SessionRecord, { token, refreshToken }: Tokens): void {
    if (this.#reply === null) return
    const { transport } = this.#reply
    const { policy, now } = this.#context
    const remember = remembered(record)
    const maxAgeMs = remember ? policy.endsAt(record.createdAt, true) - now() : null
    this.#send(transport, transport.attach(token, maxAgeMs, this.#header))
    const { refresh } = transport
    if (refreshToken !== null && refresh !== null)
      this.#send(refresh, refresh.attach(refreshToken, maxAgeMs, this.#header))
  }

  /** Of the request. */
  get #header(): HeaderOf {
    return (name) => this.#reply?.exchange.header(name) ?? null
  }

  #send({ reads }: Transport, lines: readonly string[] | null): void {
    if (lines === null) {
      throw new DataError('data-too-large', 'cookie', 'the session does not fit into cookies; keep less in its data')
    }
    if (this.#reply === null || lines.length === 0) return
    this.#checkDeliverable()
    for (const line of lines) this.#reply.exchange.setCookie(line)
    this.#reply.exchange.dependsOn(reads)
  }

  /** Checked before anything is written: a credential nobody receives would sign the user out. */
  #checkDeliverable(): void {
    if (this.#reply?.transport.ambient === true && this.#reply.exchange.headersSent) {
      throw new CredentialError(
        'undeliverable',
        'the response has begun: sign in, or write guest data, before answering',
      )
    }
  }

  #deviceNow(): Device {
    const exchange = this.#reply?.exchange
    if (exchange === undefined) return this.device ?? nobody.device
    const { browser, system } = parseUserAgent(exchange.header('user-agent'))
    return describe(browser, system, exchange.address)
  }
}

function isWhole(known: KnownSession): known is SessionRecord {
  return known.data !== null
}

export const nobody: Identity = {
  roles: [],
  claims: {},
  amr: [],
  acr: null,
  device: describe(null, null, null),
  remembered: false,
  client: null,
  replaces: null,
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
    client: kept.client,
    replaces: null,
  }
}

/** Stores keep UTF-8, in which a lone surrogate has no form; and an id is a name, not a text. */
export function checkUserId(userId: string): void {
  if (
    typeof userId !== 'string' ||
    userId.length < 1 ||
    userId.length > 256 ||
    !userId.isWellFormed() ||
    /\p{Cc}/u.test(userId)
  ) {
    throw new TypeError('userId: expected 1 to 256 characters, none of them a control character or a lone surrogate')
  }
}

function ignore(): void {
  // Whoever began that write hears of its failure.
}
