// The one place that reaches into a response: express-session saves when it ends, and applications count on that.
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'

export interface Ending {
  /** Just before the headers go out. */
  headers(): void
  /** When the response is to end: what it waits for, `null` for nothing. */
  end(): Promise<unknown> | null
  /** It failed. The response has gone out if it had begun, else nothing has, and who hears of it answers. */
  failed(error: unknown): void
}

/**
 * Nothing of the answer goes out before `end()` has resolved, unless the handler began to send it; what is done to its headers meanwhile
 * counts for nothing. So a change that could not be stored is never answered as if it had been.
 */
export function onEnding(response: ServerResponse, ending: Ending): void {
  const original = { writeHead: response.writeHead, end: response.end }
  const end = original.end as (...args: unknown[]) => ServerResponse
  let [isBegun, isEnded] = [false, false]

  response.writeHead = function writeHead(this: ServerResponse, status: number, ...rest: unknown[]) {
    const reason = typeof rest[0] === 'string' ? [rest.shift()] : []
    apply(response, rest[0] as Parameters<typeof apply>[1])
    const isFirst = !isBegun
    // Once, whatever comes of it: else the page that says what failed would fail as well.
    isBegun = true
    if (isFirst) ending.headers()
    return original.writeHead.call(response, status, ...(reason as []))
  } as typeof response.writeHead

  response.end = function (this: ServerResponse, ...args: unknown[]) {
    if (isEnded) return response
    isEnded = true
    const failed = (error: unknown) => {
      if (response.headersSent) finished(response, () => end.apply(response, args))
      else {
        response.end = original.end
        for (const name of response.getHeaderNames()) if (ofBody.test(name)) response.removeHeader(name)
      }
      ending.failed(error)
    }
    let work: Promise<unknown> | null
    try {
      work = ending.end()
    } catch (error) {
      failed(error)
      return response
    }
    if (work === null) {
      try {
        return end.apply(response, args)
      } catch (error) {
        // Such as of a body that is none: who catches it answers.
        isEnded = false
        throw error
      }
    }
    const restore = kept(response)
    work
      .then(() => {
        restore()
        end.apply(response, args)
      })
      .catch(failed)
    return response
  } as typeof response.end
}

/** What has begun and can't be brought to its end is broken off. */
function finished(response: ServerResponse, end: () => void): void {
  try {
    end()
  } catch {
    response.destroy()
  }
}

/** Headers that speak of the answer that is not given. */
const ofBody = /^(content-.*|etag|last-modified|transfer-encoding)$/

/** Headers given to `writeHead` replace those of the same name; ours must come after them. */
function apply(response: ServerResponse, headers: OutgoingHttpHeaders | readonly unknown[] | undefined): void {
  if (headers === undefined) return
  const pairs = Array.isArray(headers)
    ? Array.isArray(headers[0])
      ? (headers as [string, string][])
      : headers.flatMap((name: string, i) => (i % 2 === 0 ? [[name, headers[i + 1]] as [string, string]] : []))
    : (Object.entries(headers) as [string, string][])
  for (const [name] of pairs) response.removeHeader(name)
  for (const [name, value] of pairs) if (value !== undefined) response.appendHeader(name, value)
}

/** Puts the head of the answer back as it is now, if it has not gone out meanwhile. */
function kept(response: ServerResponse): () => void {
  if (response.headersSent) return () => {}
  const { statusCode, statusMessage } = response
  const headers = response.getHeaders()
  return () => {
    if (response.headersSent) return
    Object.assign(response, { statusCode, statusMessage })
    for (const name of response.getHeaderNames()) if (headers[name] === undefined) response.removeHeader(name)
    for (const [name, value] of Object.entries(headers)) {
      if (response.getHeader(name) !== value) response.setHeader(name, value!)
    }
  }
}
