// The session of one request: who it is, at once; what it holds, when asked; and its credential, handed out when it is new.
import type { Backend, Begun, SigningIn } from './backend.ts'
import type { KnownSession, Tokens, Via } from './credentials/credentials.ts'
import { describe, parseUserAgent, type Device } from './device.ts'
import { AccessError, CredentialError, DataError, SessionGoneError } from './errors.ts'
import type { RefusedReason, SessionEvent } from './events.ts'
import { checkUserId, decodeIdentity, frozen, nobody, type Identity } from './identity.ts'
import { milliseconds, type Duration } from './internal/duration.ts'
import { covers, isGrant, type Grants } from './roles.ts'
import type { Requirement, Session, SignInOptions } from './session.ts'
import type { Exchange, HeaderOf, Transport } from './transport/transport.ts'

/** What a session works with; one for all sessions of a `Sessions`. */
export interface SessionContext {
  readonly backend: Backend
  readonly grants: Grants
  readonly now: () => number
  readonly emit: (event: SessionEvent) => void
  /** `sessions.refresh`, which hands the tokens out by the exchange. */
  readonly refresh: (exchange: Exchange) => Promise<{ session: unknown; tokens: Tokens | null }>
}

/** Where a new credential goes. */
export interface Reply {
  readonly exchange: Exchange
  readonly transport: Transport
}

/** The one implementation, whatever keeps the session. */
export class HeldSession<Data> implements Session<Data> {
  #refused: RefusedReason | null
  readonly #context: SessionContext
  readonly #reply: Reply | null
  /** Of the credential; whatever is learnt of the session later widens nothing. */
  readonly via: Via | null
  /** What opened it, where who keeps it wants to see that again. Shown to nobody else. */
  #token: string | null
  #record: KnownSession | null
  #identity: Identity | null = null
  #ended = false
  /** Whether this response hands out a refresh token. */
  #refreshable = false
  /** A write under way that makes `#record` newer. */
  #pending: Promise<unknown> | null = null

  constructor(
    context: SessionContext,
    record: KnownSession | null,
    reply: Reply | null,
    refused: RefusedReason | null,
    token: string | null = null,
  ) {
    this.#context = context
    this.#token = token
    this.#record = record
    this.via = record?.via ?? null
    this.#reply = reply
    this.#refused = refused
  }

  get refused(): RefusedReason | null {
    return this.#refused
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

  get createdAt(): number | null {
    return this.#record?.createdAt ?? null
  }
  get seenAt(): number | null {
    return this.#record?.seenAt ?? null
  }
  get endsAt(): number | null {
    return this.#record === null ? null : this.#context.backend.endsAt(this.#record)
  }
  get remembered(): boolean {
    return this.#who?.remembered ?? false
  }
  get epoch(): number | null {
    return this.#record?.epoch ?? null
  }

  /** Decoded when first asked for: most requests want the user's id alone. */
  get #who(): Identity | null {
    if (this.#record === null) return null
    const { identity, shared } = this.#record
    if (shared === undefined) this.#identity ??= decodeIdentity(identity)
    else this.#identity = shared.who ??= frozen(decodeIdentity(identity))
    return this.#identity
  }

  can(permission: string): boolean {
    if (this.userId === null || !this.#context.grants(this.roles, permission)) return false
    return this.via === null || this.via.scope.some((grant) => covers(grant, permission))
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
    const { known, value } = await this.#context.backend.read(this.#record, section)
    if (known !== null) this.#renew(known)
    return value as Data[K]
  }

  async update<K extends keyof Data & string>(
    section: K,
    fn: (value: Data[K]) => Data[K] | Promise<Data[K]>,
  ): Promise<Data[K]> {
    for (let write; (write = this.#underWay()) !== null;) await write
    const { backend } = this.#context
    const change = fn as (value: unknown) => unknown
    if (this.#record === null) {
      this.#checkGuest()
      const guest = await backend.guest(section, change)
      // Two first updates make one session: whoever comes second updates it.
      for (let write; (write = this.#underWay()) !== null;) await write
      if (this.#record === null) {
        await this.#pend(guest.begin(this.#from).then((begun) => this.#receive(begun)))
        return guest.value as Data[K]
      }
    }
    if (backend.reissue !== null) this.#checkDeliverable()
    const { known, value } = await backend.update(this.#record, section, change)
    if (backend.reissue !== null) this.#hand(known, await backend.reissue(known))
    this.#renew(known)
    return value as Data[K]
  }

  #checkGuest(): void {
    if (this.#ended) throw new SessionGoneError('the session was ended by this request')
    this.#checkDeliverable()
    if (this.#reply?.transport.ambient !== true) {
      throw new CredentialError('undeliverable', 'there is no cookie to begin a guest session with; use start(null)')
    }
  }

  async signIn(userId: string, o: SignInOptions<Data> = {}): Promise<Tokens> {
    checkUserId(userId)
    // The user's own client would never hear of the new credential, and its session be dead.
    if (this.via !== null) throw this.#denied('forbidden', 'sign in at the service that the user’s own client calls')
    for (let write; (write = this.#underWay()) !== null;) await write
    this.#checkDeliverable()
    return this.#pend(this.#beginUser(userId, o))
  }

  async #beginUser(userId: string, o: SignInOptions<Data>): Promise<Tokens> {
    const { backend, emit } = this.#context
    const replaced = this.id
    const begun = await backend.signIn({ userId, old: this.#record, o, ...this.#from })
    this.#receive(begun)
    emit({ type: 'signed-in', id: begun.known.id, userId, replaced })
    return begun.tokens
  }

  #receive({ known, tokens, unsettled }: Begun): void {
    this.adopt(known, tokens)
    // The client has the new credential, since the old one may be dead; but what was asked for is not sure to hold.
    if (unsettled !== null) throw unsettled
  }

  async refresh(): Promise<Tokens | null> {
    for (let write; (write = this.#underWay()) !== null;) await write
    return this.#reply === null ? null : this.#pend(this.#refreshBy(this.#reply.exchange))
  }

  async #refreshBy(exchange: Exchange): Promise<Tokens | null> {
    const { session, tokens } = await this.#context.refresh(exchange)
    const refreshed = session as HeldSession<never>
    if (tokens === null && refreshed.#refused === null) return null
    this.#record = refreshed.#record
    this.#token = refreshed.#token
    this.#identity = null
    this.#ended = false
    this.#refused = refreshed.#refused
    this.#refreshable ||= refreshed.#refreshable
    return tokens
  }

  /** `sessions.assertionFor`. */
  async assertTo(audience: string, scope: readonly string[] = ['*']): Promise<string> {
    if (typeof audience !== 'string' || audience === '') throw new TypeError('audience: expected the name of a service')
    const wrong = scope.find((grant) => !isGrant(grant) || /\s/.test(grant))
    if (wrong !== undefined)
      throw new TypeError(`scope: '${wrong}' is no permission; write 'orders:read', 'orders:*' or '*'`)
    for (let write; (write = this.#underWay()) !== null;) await write
    if (this.#record === null) throw this.#denied('unauthenticated', 'there is no session to act for')
    const known = this.via === null ? this.#record : { ...this.#record, via: this.via }
    return this.#context.backend.assert({ known, token: this.#token, audience, scope })
  }

  async end(): Promise<void> {
    for (let write; (write = this.#underWay()) !== null;) await write
    return this.#pend(this.#finish())
  }

  async #finish(): Promise<void> {
    const record = this.#record
    if (record !== null) await this.#context.backend.end(record)
    this.#record = null
    this.#identity = null
    this.#ended = true
    if (this.#reply === null || this.#reply.exchange.headersSent) return
    const { transport } = this.#reply
    const { refresh } = transport
    this.#send(transport, transport.clear(this.#header))
    if (refresh !== null && (this.#refreshable || refresh.extract(this.#header) !== null))
      this.#send(refresh, refresh.clear(this.#header))
  }

  /** Extends the idle end in the background. Losing the race to another writer is success: that one extended it too. */
  touch(write: Promise<KnownSession | null>): void {
    this.#pend(
      write.then((touched) => {
        if (touched !== null) this.#renew(touched)
      }),
    ).catch((cause: unknown) => this.#context.emit({ type: 'touch-failed', id: this.id!, cause }))
  }

  /** The session as it is from now on, where it is itself in the client's hands. Too late is no harm: the next request does it. */
  async extend(extended: KnownSession): Promise<void> {
    const { reissue } = this.#context.backend
    if (reissue === null || this.#reply === null || this.#reply.exchange.headersSent) return
    this.#hand(extended, await reissue(extended))
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
  #renew(record: KnownSession): void {
    if (this.#record?.id !== record.id || this.#record.version > record.version) return
    this.#record = record
    this.#identity = null
  }

  /** The session is this one from now on, and the client gets its tokens. */
  adopt(record: KnownSession, tokens: Tokens): void {
    this.#record = record
    this.#identity = null
    this.#ended = false
    this.#token = tokens.token
    this.#hand(record, tokens)
  }

  #hand(known: KnownSession, { token, refreshToken }: Tokens): void {
    if (this.#reply === null) return
    const { transport } = this.#reply
    const maxAgeMs = this.#context.backend.maxAgeMs(known)
    this.#send(transport, transport.attach(token, maxAgeMs, this.#header))
    const { refresh } = transport
    if (refreshToken === null || refresh === null) return
    this.#send(refresh, refresh.attach(refreshToken, maxAgeMs, this.#header))
    this.#refreshable = true
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

  /** Whence a session is begun, and whether its credential would arrive there. */
  get #from(): Pick<SigningIn, 'device' | 'userAgent' | 'checkDeliverable'> {
    const checkDeliverable = () => this.#checkDeliverable()
    const exchange = this.#reply?.exchange
    if (exchange === undefined) return { device: this.device ?? nobody.device, userAgent: null, checkDeliverable }
    const userAgent = exchange.header('user-agent')
    const { browser, system } = parseUserAgent(userAgent)
    return { device: describe(browser, system, exchange.address), userAgent, checkDeliverable }
  }
}

function ignore(): void {
  // Whoever began that write hears of its failure.
}
