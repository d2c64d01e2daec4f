// Requests to a proxy: well-formed ones, and bytes as they are.
import { once } from 'node:events'
import { request, type Agent, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { host } from './site.ts'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

export interface Question {
  readonly method?: string
  readonly cookie?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
  /** Default: a connection of its own. */
  readonly agent?: Agent
}

/** One request for the site's host. */
export async function ask(front: { readonly port: number }, path: string, o: Question = {}): Promise<Answer> {
  const headers = { host, ...(o.cookie === undefined ? {} : { cookie: o.cookie }), ...o.headers }
  const asking = request({
    port: front.port,
    host: '127.0.0.1',
    path,
    method: o.method ?? 'GET',
    headers,
    agent: o.agent ?? false,
  })
  const answered = once(asking, 'response')
  asking.end()
  const [response] = await answered
  return { status: response.statusCode, headers: response.headers, text: await text(response) }
}

/** For attempts: some are never answered. */
const patienceMs = 1_000

/**
 * Sends `bytes`, then, when something came back, a request that anybody may make, and waits for the end of the connection. What does not come in
 * a second is not waited for. Answers all that came back. With `sign` it waits for as long as it takes until that has come.
 */
export async function sendRaw(port: number, bytes: string, sign: RegExp | null = null): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  let back = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (back += chunk))
  await once(socket, 'connect')
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const came = new Promise<void>((resolve) => socket.on('data', () => sign?.test(back) === true && resolve()))
  const patiently = sign === null ? within : (event: Promise<unknown>) => event
  socket.write(bytes, 'latin1')
  await patiently(Promise.race([once(socket, 'data').catch(() => {}), closed]))
  if (!socket.destroyed) socket.write(`GET /public/after HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
  await patiently(Promise.race([came, closed]))
  socket.destroy()
  return back
}

async function within(event: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([event, new Promise((resolve) => (timer = setTimeout(resolve, patienceMs)))])
  clearTimeout(timer)
}
