// An error as `application/problem+json` (RFC 9457).
import { SessionError } from '../errors.ts'

export interface Problem {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: string
}

/** Only a `SessionError` is explained to the client; of anything else it learns nothing. */
export function problem(error: unknown): Problem {
  const known = error instanceof SessionError && error.statusCode < 500 ? error : null
  const status = error instanceof SessionError ? error.statusCode : 500
  const detail = known?.message ?? (status === 503 ? 'the session store is not available; try again' : undefined)
  return {
    status,
    headers: {
      ...(error instanceof SessionError ? error.headers : {}),
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
    },
    body: JSON.stringify({
      type: 'about:blank',
      title: titles[status] ?? 'Error',
      status,
      detail,
      code: error instanceof SessionError ? error.code : undefined,
    }),
  }
}

const titles: Record<number, string> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  409: 'Conflict',
  413: 'Content Too Large',
  422: 'Unprocessable Content',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
}
