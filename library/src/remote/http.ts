// Calls to the session service: each ends in time, follows no redirect, and is made again only where that changes nothing.
import { breaker } from '../internal/breaker.ts'
import { deadline } from '../internal/deadline.ts'
import { guardedCall } from '../internal/guarded-call.ts'
import { noService, refusal, type Answer } from './refusal.ts'

export interface HttpOptions {
  readonly url: string
  readonly authorization: string
  readonly deadlineMs: number
  /** How much longer a call may take that waits for an end to settle. */
  readonly settleMs: number
  readonly now: () => number
  readonly fetch: typeof globalThis.fetch
  /** Hears of the service going down, with the cause, and coming back (`null`). */
  readonly changed: (cause: unknown) => void
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** By `path`. */
  readonly path: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Made twice it does the same as made once. */
  readonly repeatable?: boolean
  /** It waits for an end to settle. */
  readonly settles?: boolean | undefined
  /** Codes of problems that are no failure of the call. */
  readonly accepts?: readonly string[]
  /** What it writes, to name in a `DataError`. */
  readonly section?: string
}

export interface Http {
  /** Rejects with `StoreUnavailableError`, or with what the service has against the call. */
  call(call: Call): Promise<Answer>
  /** A call that waits up to `pollMs` for news, and is ended by `signal`. Any rejection is a failure. */
  poll(path: string, signal: AbortSignal): Promise<Answer>
  /** Whether the service knew this client when it last said anything about it. */
  readonly isKnown: boolean
}

/** How long a poll waits for something new, in ms. */
export const pollMs = 100
/** Of one answer; of the feed's, which may hold ten thousand notices. */
const maxBytes = 4_194_304
const maxFeedBytes = 33_554_432
/** Said by the service when its store is away, or by a proxy when the service is. */
const unavailable = new Set([502, 503, 504])

export function http(o: HttpOptions): Http {
  const attempt = guardedCall(`service at ${o.url}`, o.deadlineMs)
  const attemptToSettle = guardedCall(`service at ${o.url}`, o.deadlineMs + o.settleMs)
  let open = 0
  const circuitChanged = (cause: unknown) => {
    // Down when the first of the two opens, up when both are closed.
    if (cause !== null ? open++ === 0 : --open === 0) o.changed(cause)
  }
  // Apart, since a store that refuses writes may still answer reads.
  const reads = breaker(o.now, circuitChanged)
  const writes = breaker(o.now, circuitChanged)
  // Not a method of the options: some runtimes refuse to be called as one.
  const { fetch } = o
  const pollInTime = deadline(o.deadlineMs + pollMs)
  let isKnown = false

  async function send({ method, path, body, headers }: Call, signal: AbortSignal, limit = maxBytes): Promise<Answer> {
    const response = await fetch(`${o.url}${path}`, {
      method,
      headers: {
        authorization: o.authorization,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
      // The secret goes to `url` and nowhere else.
      redirect: 'manual',
      signal,
    })
    const { status } = response
    const text = await read(response, limit)
    if (unavailable.has(status)) throw new Error(`the service answered ${status}`)
    // 429 is said of what was presented, or before it is known who calls; what is public is answered to everyone.
    const answer = parsed(text)
    const code = status < 400 ? null : codeOf(answer)
    if (status !== 429 && path.startsWith('/v1/')) isKnown = code !== 'invalid-client'
    return { status, etag: response.headers.get('etag'), code, body: answer }
  }

  return {
    async call(call) {
      const circuit = call.method === 'GET' || call.path === verifyPath ? reads : writes
      const inTime = call.settles === true ? attemptToSettle : attempt
      const answer = await inTime(circuit, (signal) => send(call, signal), call.repeatable === true ? 2 : 1)
      const { status, code } = answer
      if (status === 200 && answer.body === undefined) throw noService(status)
      if ((status >= 200 && status < 300) || (code !== null && call.accepts?.includes(code) === true)) return answer
      throw refusal(answer, call.section ?? 'data')
    },

    async poll(path, signal) {
      const abort = new AbortController()
      const stop = () => abort.abort()
      signal.addEventListener('abort', stop)
      try {
        const answer = await pollInTime((late) => {
          late.addEventListener('abort', stop)
          return send({ method: 'GET', path }, abort.signal, maxFeedBytes)
        })
        if (answer.status !== 200) throw refusal(answer, 'data')
        return answer
      } finally {
        signal.removeEventListener('abort', stop)
      }
    },

    get isKnown() {
      return isKnown
    },
  }
}

export const verifyPath = '/v1/sessions/verify'

/** A path with each part encoded: path`/v1/sessions/${id}`. `TypeError` for a part that no URL can hold. */
export function path(texts: TemplateStringsArray, ...parts: readonly string[]): string {
  if (parts.some((part) => part === '.' || part === '..'))
    throw new TypeError("userId: '.' and '..' have no form in a URL, so the session service can't be asked for them")
  return String.raw({ raw: texts }, ...parts.map(encodeURIComponent))
}

/** The text of a body of up to `limit` bytes. */
async function read({ body }: Response, limit: number): Promise<string> {
  if (body === null) return ''
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  const reader = body.getReader()
  for (let part; !(part = await reader.read()).done;) {
    bytes += part.value.length
    if (bytes > limit) {
      void reader.cancel()
      throw new Error(`the answer is longer than ${limit} bytes`)
    }
    text += decoder.decode(part.value, { stream: true })
  }
  return text + decoder.decode()
}

/** `undefined` for what is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function codeOf(body: unknown): string | null {
  const { code } = (body ?? {}) as { code?: unknown }
  return typeof code === 'string' ? code : null
}
