// What the service answers when it does not do what was asked: RFC 9457 problems, and one table of how errors become them.
import { ConflictError, DataError, SessionError, SessionGoneError, StoreUnavailableError } from 'holdfast'

/** One thing that is wrong with what was sent: `path` is where (`body.userId`), `message` what. */
export interface Issue {
  readonly path: string
  readonly message: string
}

/** An answer other than the one hoped for. `detail` is for people and holds no secret. */
export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly headers: Readonly<Record<string, string>>
  readonly issues: readonly Issue[] | undefined

  constructor(
    status: number,
    code: string,
    detail: string,
    o: { headers?: Record<string, string>; issues?: readonly Issue[]; cause?: unknown } = {},
  ) {
    super(detail, { cause: o.cause })
    this.status = status
    this.code = code
    this.headers = o.headers ?? {}
    this.issues = o.issues
  }

  /** The body of the answer. */
  toJSON(): Record<string, unknown> {
    const { status, code, message, issues } = this
    return { type: 'about:blank', title: titles[status] ?? 'Error', status, detail: message, code, issues }
  }
}

export const problemType = 'application/problem+json; charset=utf-8'

/** There is no live session with an id. The same words whether it never was, expired or was ended. */
export function noSession(): Problem {
  return new Problem(404, 'session-gone', 'there is no live session with this id')
}

/** Input that does not fit what the call takes. */
export function invalid(issues: readonly Issue[]): Problem {
  const shown = issues.slice(0, 3).map(({ path, message }) => `${path}: ${message}`)
  const more = issues.length > shown.length ? ` (and ${issues.length - shown.length} more)` : ''
  return new Problem(400, 'invalid-request', shown.join('; ') + more, { issues: issues.slice(0, 50) })
}

/** Any error as a problem. Of an unforeseen one the caller learns nothing; it is the cause, for the log. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof StoreUnavailableError) {
    const { code, headers, cause } = error
    return new Problem(503, code, 'the session store is not available; try again', { headers, cause })
  }
  if (error instanceof SessionGoneError) return noSession()
  if (error instanceof DataError) {
    const issues = error.issues.map(({ message, path }) => ({
      path: ['data', error.section, ...path.map(String)].join('.'),
      message,
    }))
    return new Problem(error.statusCode, error.code, error.message, issues.length > 0 ? { issues } : {})
  }
  if (error instanceof ConflictError) return new Problem(409, error.code, error.message)
  if (error instanceof SessionError && error.statusCode < 500)
    return new Problem(error.statusCode, error.code, error.message)
  return (
    fromFramework(error) ??
    new Problem(500, 'internal', 'something went wrong here; the log says what', { cause: error })
  )
}

/** Fastify's own refusals carry a code and a status. */
function fromFramework(error: unknown): Problem | null {
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown }
  if (typeof code !== 'string' || typeof statusCode !== 'number' || statusCode >= 500) return null
  const known = frameworkCodes[code]
  if (known !== undefined) return new Problem(statusCode, ...known)
  return new Problem(statusCode, 'invalid-request', 'the request could not be understood')
}

const frameworkCodes: Record<string, [code: string, detail: string]> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['body-too-large', 'the body is larger than 1 MiB (1,048,576 bytes)'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['unsupported-media-type', 'this call does not take that Content-Type'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['invalid-request', 'the body is not as long as Content-Length says'],
  FST_ERR_BAD_URL: ['invalid-request', 'the path is not a valid percent-encoded one'],
}

const titles: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  422: 'Unprocessable Content',
  428: 'Precondition Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}
