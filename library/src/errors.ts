// Every error of Holdfast, its code, and the HTTP status that stands for it.

/** The one table of codes and statuses. */
const statuses = {
  config: 500,
  credential: 401,
  unauthenticated: 401,
  'authentication-too-old': 401,
  'assurance-too-low': 401,
  forbidden: 403,
  'cross-site': 403,
  data: 422,
  'data-too-large': 413,
  'session-gone': 401,
  conflict: 409,
  limit: 429,
  'store-unavailable': 503,
  service: 502,
} as const

/** What went wrong, for programs. */
export type ErrorCode = keyof typeof statuses

/**
 * The parent of every error thrown by Holdfast. No message holds a secret.
 * `statusCode` and `headers` are what Express, Fastify and Koa read when an error reaches their own handlers.
 */
export abstract class SessionError extends Error {
  abstract readonly code: ErrorCode

  override get name(): string {
    return this.constructor.name
  }
  /** The HTTP status that stands for this error. */
  get statusCode(): number {
    return statuses[this.code]
  }
  /** Response headers that go with the status. */
  get headers(): Record<string, string> {
    return {}
  }
}

/** A factory was given options it can't work with. Thrown at start-up only. */
export class ConfigError extends SessionError {
  readonly code = 'config'
}

/** Why a credential was not accepted. */
export type CredentialReason = 'malformed' | 'duplicate' | 'unknown' | 'mismatch' | 'expired' | 'undeliverable'

/** A credential can't be accepted, or (`undeliverable`) can't be handed to the client any more. */
export class CredentialError extends SessionError {
  readonly code = 'credential'
  readonly reason: CredentialReason
  constructor(reason: CredentialReason, message: string) {
    super(message)
    this.reason = reason
  }
  override get statusCode(): number {
    return this.reason === 'undeliverable' ? 500 : super.statusCode
  }
}

/** `session.require(…)` was not met. The message names what is missing. */
export class AccessError extends SessionError {
  readonly code: 'unauthenticated' | 'forbidden' | 'authentication-too-old' | 'assurance-too-low'
  constructor(code: AccessError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** A request that changes something came from another site, or can't show that it did not. */
export class CrossSiteError extends SessionError {
  readonly code = 'cross-site'
}

/** One thing that a schema found wrong, as Standard Schema reports it. */
export interface DataIssue {
  readonly message: string
  readonly path: readonly PropertyKey[]
}

/** A section does not fit its schema (`issues` say where), or the data is too large. Nothing was written. */
export class DataError extends SessionError {
  readonly code: 'data' | 'data-too-large'
  readonly section: string
  readonly issues: readonly DataIssue[]
  constructor(code: DataError['code'], section: string, message: string, issues: readonly DataIssue[] = []) {
    super(message)
    this.code = code
    this.section = section
    this.issues = issues
  }
}

/** The session ended or expired since it was opened. What was asked for did not happen. */
export class SessionGoneError extends SessionError {
  readonly code = 'session-gone'
}

/** Others kept changing the session; gave up after `attempts`. Nothing was written. */
export class ConflictError extends SessionError {
  readonly code = 'conflict'
  readonly attempts: number
  constructor(attempts: number) {
    super(`the session was changed by others ${attempts} times in a row; try again`)
    this.attempts = attempts
  }
}

/** The user has as many sessions as the limit allows, and the limit refuses new ones. */
export class LimitError extends SessionError {
  readonly code = 'limit'
}

/** The store failed or did not answer in time. Nobody was signed out; the outcome of a write is unknown. */
export class StoreUnavailableError extends SessionError {
  readonly code = 'store-unavailable'
  /** When to try again, in milliseconds from now. */
  readonly retryAfterMs: number
  constructor(message: string, retryAfterMs: number, cause?: unknown) {
    super(message, { cause })
    this.retryAfterMs = retryAfterMs
  }
  /** RFC 9110, section 10.2.3: whole seconds, never 0. */
  override get headers(): Record<string, string> {
    return { 'Retry-After': String(Math.max(1, Math.ceil(this.retryAfterMs / 1000))) }
  }
}

/** What a service said against a call, in the terms of RFC 9457. */
export interface ServiceProblem {
  /** The HTTP status. */
  readonly status: number
  /** What went wrong, for programs, such as `invalid-client` or `missing-permission`; `null` when it was no problem of the service's own. */
  readonly code: string | null
}

/**
 * The session service does not do what it was asked, and asking again won't help: a wrong client secret, a permission that is
 * missing, input that it does not take. It says nothing of any user.
 */
export class ServiceError extends SessionError {
  readonly code = 'service'
  readonly problem: ServiceProblem
  constructor(message: string, problem: ServiceProblem) {
    super(message)
    this.problem = problem
  }
}
