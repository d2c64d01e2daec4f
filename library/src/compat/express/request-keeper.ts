// What keeps `req.session` of one request: the drop-in's side of what a store is to express-session.
import { AsyncLocalStorage } from 'node:async_hooks'
import { hash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  CredentialError,
  opaqueCredentials,
  SessionGoneError,
  type Credentials,
  type Session,
  type Sessions,
} from '../../index.ts'
import { credentialOf, idOf, isOldCredential } from './old-cookie.ts'
import {
  keptOf,
  merged,
  nothing,
  sameData,
  section,
  snapshotOf,
  touchDue,
  type Kept,
  type Snapshot,
} from './section.ts'
import {
  RequestSession,
  SessionCookie,
  storedCookie,
  type CookieSettings,
  type Done,
  type Keeper,
  type Keeping,
} from './session.ts'

export type AllSections = Readonly<Record<string, unknown>>

export type KeptRequest = IncomingMessage & Keeping & { readonly ip?: string }

export interface KeeperContext {
  readonly sessions: Sessions<AllSections>
  readonly userOf: (session: object) => string | null
  /** For sessions whose cookie has no `maxAge`. */
  readonly idleMs: number
  readonly cookieOf: (request: KeptRequest) => CookieSettings
}

/** Applications want the id of a session long before it is stored, if it ever is. */
interface Plan {
  readonly id: string
  readonly secret: string
}

const planned = new AsyncLocalStorage<Plan>()

function newPlan(): Plan {
  return { id: randomBytes(16).toString('base64url'), secret: randomBytes(32).toString('base64url') }
}

/** Stands before the id of an old cookie whose signature was right. It is made anew in each process, so nobody can send it. */
const checked = `${randomBytes(32).toString('base64url')}:`

/** What opens the session of an old cookie. Its signature must have been checked. */
export function tokenOf(sid: string): string {
  return checked + sid
}

/** Opaque ones; those that a request has planned it gets. And old cookies, which are never handed out anew. */
export function plannedCredentials(): Credentials {
  const opaque = opaqueCredentials()
  return {
    ...opaque,
    keeps: (kept) => opaque.keeps(kept) || isOldCredential(kept),
    present(token, ...rest) {
      if (!token.startsWith(checked)) return opaque.present(token, ...rest)
      const sid = token.slice(checked.length)
      return { kind: 'reference', id: idOf(sid), matches: (kept) => kept === credentialOf(sid) }
    },
    async issue(random) {
      const plan = planned.getStore()
      if (plan === undefined) return opaque.issue(random)
      const { id, secret } = plan
      const tokens = { token: `${id}.${secret}`, refreshToken: null, expiresInMs: null }
      return { id, kept: hash('sha256', secret, 'base64url'), tokens: () => tokens }
    },
  }
}

export class RequestKeeper implements Keeper {
  readonly #context: KeeperContext
  readonly #request: KeptRequest
  readonly #response: ServerResponse
  /** Opens the session. */
  token = ''
  /** What the cookie is to be. */
  cookieValue = ''
  /** The token that the response hands out, if it does. */
  handedOut: string | null = null
  /** `null`: nothing is stored yet. */
  #held: Session<AllSections> | null = null
  /** The id of one that was ended here: nothing is stored under it any more. */
  #gone: string | null = null
  /** What is stored of it, as far as this request knows. */
  #base = nothing
  #user: string | null = null
  #cookie: unknown = null
  /** What the application asked to be stored, and was told how that went. */
  #told: Snapshot | null = null
  /** What nobody was told of. */
  #unheard: Promise<unknown> | null = null
  /** What the request began with. */
  #original = { id: '', data: nothing }
  #queue: Promise<unknown> = Promise.resolve()
  #queued = 0

  constructor(context: KeeperContext, request: KeptRequest, response: ServerResponse) {
    this.#context = context
    this.#request = request
    this.#response = response
  }

  /** The session that `token` opens, which came as `cookieValue`, or a new one. `StoreUnavailableError`. */
  async open(token: string, cookieValue: string): Promise<void> {
    const kept = await this.#read(token)
    if (kept === null) return this.begin()
    Object.assign(this, { token, cookieValue })
    this.#request.sessionID = this.#held!.id!
    this.createSession(this.#request, kept)
    this.#original = { id: this.#request.sessionID, data: this.#base }
  }

  begin(): void {
    this.#generate()
    this.#original = { id: this.#request.sessionID, data: nothing }
  }

  /** Whether it is stored. */
  get isStored(): boolean {
    return this.#held !== null
  }
  isModified(session: RequestSession): boolean {
    return session.id !== this.#original.id || !sameData(snapshotOf(keptOf(session)), this.#original.data)
  }

  /** What the response waits for; `null` for nothing. */
  get underWay(): Promise<unknown> | null {
    return this.#unheard ?? (this.#queued > 0 ? this.#queue : null)
  }

  /** At the end of the response: stores what changed, or that the session was used. `isWanted`: also if nothing is stored yet. */
  finish(session: RequestSession, isWanted: boolean): Promise<unknown> | null {
    const mine = snapshotOf(keptOf(session))
    const isChanged = this.#held === null ? isWanted : !sameData(mine, this.#base)
    const isTold = this.#told !== null && sameData(mine, this.#told)
    if ((isChanged && !isTold) || this.#isTouchDue(session)) return this.#inTurn(() => this.#save(session))
    return this.underWay
  }

  get(id: string, done: (error: unknown, kept?: object | null) => void): void {
    tell(
      this.#inTurn(async () => {
        if (id === this.#request.sessionID) return this.#read(this.token)
        const other = await this.#context.sessions.get(id)
        return other === null ? null : (((await other.read(section)) ?? null) as Kept | null)
      }),
      done,
    )
  }

  set(_id: string, session: RequestSession, done?: Done): void {
    const saved = this.#inTurn(() => this.#save(session))
    // Without anybody to tell, what fails is tried again when the response ends.
    if (done === undefined) return void saved.catch(() => {})
    this.#told = snapshotOf(keptOf(session))
    tell(saved, done)
  }

  destroy(id: string, done?: Done): void {
    const ended = this.end(id)
    tell(ended, done)
    // A session that may still be alive is not answered as if it were not.
    if (done === undefined) this.#unheard = ended
  }

  end(id: string): Promise<void> {
    return this.#inTurn(async () => {
      if (id !== this.#request.sessionID) await this.#context.sessions.end(id)
      else {
        await this.#held?.end()
        this.#held = null
        this.#gone = id
      }
    })
  }

  regenerate(_request: Keeping, done: Done): void {
    tell(
      this.end(this.#request.sessionID).finally(() => this.#generate()),
      done,
    )
  }

  createSession(request: Keeping, kept: object): RequestSession {
    const session = new RequestSession(request, { ...kept, cookie: storedCookie(kept) })
    this.#stored(keptOf(session))
    request.session = session
    return session
  }

  #generate(): void {
    const request = this.#request
    this.#adopt(newPlan())
    this.#held = null
    this.#base = nothing
    this.#user = null
    this.#told = null
    const session = new RequestSession(request)
    session.cookie = new SessionCookie(this.#context.cookieOf(request))
    request.session = session
  }

  #adopt({ id, secret }: Plan): void {
    this.#request.sessionID = id
    this.token = this.cookieValue = `${id}.${secret}`
  }

  async #read(token: string): Promise<Kept | null> {
    const held = await this.#context.sessions.open(token)
    if (held.id === null) return null
    try {
      // One that was begun otherwise has nothing for us yet.
      const kept = ((await held.read(section)) ?? { cookie: this.#context.cookieOf(this.#request) }) as Kept
      this.#held = held
      return kept
    } catch (error) {
      if ((error as { code?: unknown }).code === 'session-gone') return null
      throw error
    }
  }

  async #save(session: RequestSession): Promise<void> {
    // An object that the application kept may be that of a session which is over.
    if (session.id !== this.#request.sessionID || session.id === this.#gone)
      throw new SessionGoneError('the session has ended')
    const mine = keptOf(session)
    const user = this.#context.userOf(session)
    if (this.#held !== null && user !== this.#user) await this.#rebind(session, this.#held, user)
    if (this.#held === null) await this.#start(user, mine)
    else if (!sameData(snapshotOf(mine), this.#base) || user !== this.#user)
      await this.#held.update(section, (stored) => merged((stored ?? {}) as Kept, this.#base, mine))
    else if (this.#isTouchDue(session)) await this.#touch(this.#held, mine)
    else return
    this.#stored(mine)
  }

  #stored(kept: Kept): void {
    this.#base = snapshotOf(kept)
    this.#user = this.#context.userOf(kept)
    this.#cookie = kept['cookie']
  }

  async #start(user: string | null, data: Kept): Promise<void> {
    // A session whose credential nobody gets would only be in the way.
    if (this.#response.headersSent && this.handedOut !== this.token) throw undeliverable()
    const { headers, ip, socket } = this.#request
    const from = { userAgent: headers['user-agent'], address: ip ?? socket.remoteAddress }
    const [id, secret] = this.token.split('.') as [string, string]
    const { session } = await planned.run({ id, secret }, () =>
      this.#context.sessions.start(user, { ...from, data: { [section]: data } }),
    )
    this.#held = session
  }

  /** Another user, or none: the session goes on under a new id, and the old one is dead. */
  async #rebind(session: RequestSession, held: Session<AllSections>, user: string | null): Promise<void> {
    if (this.#response.headersSent) throw undeliverable()
    const plan = newPlan()
    try {
      if (user !== null) await planned.run(plan, () => held.signIn(user))
      else {
        await held.end()
        this.#held = null
      }
    } finally {
      // It may have been replaced although that failed.
      if (held.id === plan.id || held.id === null) {
        this.#adopt(plan)
        Object.defineProperty(session, 'id', { value: plan.id })
      }
    }
  }

  #isTouchDue(session: RequestSession): boolean {
    const seenAt = this.#held?.seenAt ?? null
    return seenAt !== null && touchDue(this.#cookie, keptOf(session)['cookie'] as object, seenAt, this.#context.idleMs)
  }

  async #touch(held: Session<AllSections>, { cookie }: Kept): Promise<void> {
    const touched = held.update(section, (stored) => ({ ...(stored as Kept | undefined), cookie }))
    await touched.catch((error: { code?: unknown }) => {
      // Nothing is lost by not extending what has ended.
      if (error.code !== 'session-gone') throw error
    })
  }

  /** One after the other, as the application asked. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#queued++
    const done = this.#queue.then(work).finally(() => this.#queued--)
    this.#queue = done.catch(() => {})
    return done
  }
}

function undeliverable(): CredentialError {
  return new CredentialError(
    'undeliverable',
    'the response has begun, so the cookie of a new session can’t be sent: change the session before answering',
  )
}

/** Outside of the promise, so that what `done` throws is not taken for a failure of ours. */
export function tell<T>(work: Promise<T>, done: (error: unknown, value?: T) => void = () => {}): void {
  work.then(
    (value) => process.nextTick(done, null, value),
    (error: unknown) => process.nextTick(done, error),
  )
}
