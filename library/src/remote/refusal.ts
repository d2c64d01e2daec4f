// What the session service answers when it does not do what was asked, as the errors that a local store would give.
import { ConflictError, DataError, LimitError, ServiceError, SessionGoneError, type DataIssue } from '../errors.ts'

/** An answer of the service. */
export interface Answer {
  readonly status: number
  readonly etag: string | null
  /** Of a problem (RFC 9457), for programs. */
  readonly code: string | null
  /** The JSON of its body; `undefined` when that is none. */
  readonly body: unknown
}

/** `section` is what the call was about. Never a `CredentialError`: that this client is refused says nothing of its users. */
export function refusal(answer: Answer, section: string): Error {
  const { status, code, body } = answer
  const { detail: said, issues } = (body ?? {}) as { detail?: unknown; issues?: unknown }
  const detail = typeof said === 'string' ? said : 'without an explanation'
  if (code === 'session-gone') return new SessionGoneError('the session has ended')
  if (code === 'limit') return new LimitError(detail)
  if (code === 'conflict') return new ConflictError(1)
  if (code === 'data' || status === 422) return new DataError('data', section, detail, issuesOf(issues))
  if (status === 413) return new DataError('data-too-large', section, detail)
  if (code === 'invalid-json') return new DataError('data', section, detail)
  return new ServiceError(explained(status, detail), { status, code })
}

/** What answers, and does not answer as the service does. */
export function noService(status: number): ServiceError {
  return new ServiceError('what answers at url is no session service of this version', { status, code: null })
}

function explained(status: number, detail: string): string {
  if (status === 401)
    return 'the session service does not accept this client: check clientId and clientSecret (holdfast clients list)'
  if (status === 403) return `the session service: ${detail}; add a client that has it (holdfast clients add --help)`
  if (status === 404) return `what answers at url answered 404 (${detail}): is it the session service?`
  if (status < 400)
    return `the session service answered ${status}: redirects are not followed; set url to where it is itself`
  return `the session service answered ${status}: ${detail}`
}

function issuesOf(issues: unknown): readonly DataIssue[] {
  if (!Array.isArray(issues)) return []
  return issues.map(({ path, message }: { path: unknown; message: unknown }) => {
    // data.<section>.<path>
    return { path: String(path).split('.').slice(2), message: String(message) }
  })
}
