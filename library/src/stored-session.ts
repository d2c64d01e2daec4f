// The session of one request, on a store.
import { noData, pick, type Sections } from './data.ts'
import { describe, parseUserAgent, type Device } from './device.ts'
import { AccessError, ConfigError, CredentialError, SessionGoneError } from './errors.ts'
import type { RefusedReason, SessionEvent } from './events.ts'
import { decodeIdentity, remembered, type Identity } from './identity.ts'
import { milliseconds, type Duration } from './internal/duration.ts'
import type { Lifecycle, Take } from './lifecycle.ts'
import type { Policy } from './policy.ts'
import type { Grants } from './roles.ts'
import type { Requirement, Session, SignInOptions } from './session.ts'
import type { SessionRecord } from './store.ts'
import type { Exchange, Transport } from './transport/transport.ts'

/** What a session works with; one for all sessions of a `Sessions`. */
export interface SessionContext {
  readonly lifecycle: Lifecycle
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
  #record: SessionRecord | null
  #identity: Identity | null = null
  #ended = false
  /** A write under way that makes `#record` newer. */
  #pending: Promise<unknown> | null = null

  constructor(
    context: SessionContext,
    record: SessionRecord | null,
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

  read<K extends keyof Data & string>(section: K): Promise<Data[K]> {
    return this.#context.sections.read(this.#record?.data ?? noData, section) as Promise<Data[K]>
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
    let value: unknown
    const changed = await lifecycle.change(this.#record, async (current) => {
      const made = await this.#make(current.data, section, fn)
      value = made.value
      const at = now()
      // The store may not have noticed, and `fn` takes its time: what has expired must not be extended.
      if (!policy.live(current, at, () => remembered(current))) throw new SessionGoneError('the session has expired')
      return { data: made.data, seenAt: at, expiresAt: policy.expiresAt(current.createdAt, at, remembered(current)) }
    })
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
    await this.#begin(null, () => ({ identity, data }))
  }

  async signIn(userId: string, o: SignInOptions<Data> = {}): Promise<{ token: string }> {
    checkUserId(userId)
    for (let write; (write = this.#underWay()) !== null;) await write
    this.#checkDeliverable()
    return this.#pend(this.#beginUser(userId, o))
  }

  async #beginUser(userId: string, o: SignInOptions<Data>): Promise<{ token: string }> {
    const { policy, emit } = this.#context
    const old = this.#record
    const again = old?.userId === userId
    const device = this.#deviceNow()
    const carry = o.carry ?? (old === null || old.userId === null || again ? null : [])
    const { id, token } = await this.#begin(userId, (last) => {
      // Who was signed out everywhere meanwhile does not sign in again by a request that was under way.
      if (again && last === null) throw new SessionGoneError('the session was ended meanwhile; sign in anew')
      return {
        identity: identityOf(policy, o, last?.userId === userId ? decodeIdentity(last.identity) : nobody, device),
        // What an ended session held is not brought back.
        data: last === null ? noData : carry === null ? last.data : pick(last.data, carry),
      }
    })
    emit({ type: 'signed-in', id, userId, replaced: old?.id ?? null })
    return { token }
  }

  async #begin(userId: string | null, take: Take): Promise<{ id: string; token: string }> {
    const { lifecycle } = this.#context
    const checkDeliverable = () => this.#checkDeliverable()
    const { record, token, unsettled } = await lifecycle.begin({ userId, old: this.#record, take, checkDeliverable })
    this.#adopt(record, token)
    // The client has the new credential, since the old one may be dead; but what was asked for is not sure to hold.
    if (unsettled !== null) throw unsettled
    return { id: record.id, token }
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
    if (this.#reply !== null && !this.#reply.exchange.headersSent) this.#send(this.#reply.transport.clear())
  }

  /** Extends the idle end in the background. Losing the race to another writer is success: that one extended it too. */
  touch(write: Promise<SessionRecord | null>): void {
    this.#pend(
      write.then((touched) => {
        if (touched !== null) this.#renew(touched)
      }),
    ).catch((cause: unknown) => this.#context.emit({ type: 'touch-failed', id: this.id!, cause }))
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

  #adopt(record: SessionRecord, token: string): void {
    this.#record = record
    this.#identity = null
    this.#ended = false
    const { policy, now } = this.#context
    const remember = remembered(record)
    const maxAgeMs = remember ? policy.endsAt(record.createdAt, true) - now() : null
    this.#send(this.#reply?.transport.attach(token, maxAgeMs) ?? null)
  }

  #send(line: string | null): void {
    if (line === null || this.#reply === null) return
    this.#checkDeliverable()
    this.#reply.exchange.setCookie(line)
    this.#reply.exchange.dependsOn(this.#reply.transport.reads)
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
