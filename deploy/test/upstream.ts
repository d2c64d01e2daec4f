// An application behind a proxy, as gullible as any: it believes every spelling of a header and every form of a path, and remembers what
// it was asked. What it does not know is who called.
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What the application says of `/public/picture`. */
export const cacheable = 'public, max-age=600'

/** A request as it came to the application. */
export interface Arrived {
  readonly instance: number
  /** As a framework sees it that lets the client override it. */
  readonly method: string
  /** In the plainest form that any server might take it for. */
  readonly path: string
  readonly target: string
  /** Names as CGI would have them, with `-`; every line of a name is in it. */
  readonly headers: ReadonlyMap<string, readonly string[]>
}

export interface Upstream {
  readonly instance: number
  readonly address: string
  readonly arrived: Arrived[]
  /** The next request is not answered: its connection breaks. */
  breakNext(): void
  /** Refuses connections and breaks those there are. */
  stop(): Promise<void>
  start(): Promise<void>
}

/** `signIn` is called for `POST /sign-in` and answers the `Set-Cookie` line. */
export async function startUpstream(instance: number, signIn: (who: string) => Promise<string>): Promise<Upstream> {
  const arrived: Arrived[] = []
  let breaksNext = false
  const server: Server = createServer({ insecureHTTPParser: true, requireHostHeader: false }, (request, response) => {
    const seen = describe(request, instance)
    arrived.push(seen)
    request.resume()
    if (breaksNext) {
      breaksNext = false
      return void request.socket.destroy()
    }
    const answer = () => {
      response.setHeader('content-type', 'application/json')
      if (seen.path === '/public/picture') response.setHeader('cache-control', cacheable)
      response.end(JSON.stringify({ ...seen, headers: Object.fromEntries(seen.headers) }))
    }
    if (seen.path !== '/sign-in') return answer()
    signIn(new URL(seen.target, 'http://x').searchParams.get('as') ?? '').then(
      (cookie) => {
        response.setHeader('set-cookie', cookie)
        answer()
      },
      (error: Error) => response.writeHead(500).end(error.message),
    )
  })
  server.on('upgrade', (request, socket) => {
    arrived.push(describe(request, instance))
    socket.on('error', () => {})
    // RFC 6455, section 4.2.2; HAProxy looks.
    const accept = hash('sha1', `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, 'base64')
    const lines = ['Connection: Upgrade', `Upgrade: ${request.headers.upgrade}`, `Sec-WebSocket-Accept: ${accept}`]
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`)
    socket.pipe(socket)
  })
  server.keepAliveTimeout = 60_000
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    instance,
    address: `127.0.0.1:${port}`,
    arrived,
    breakNext: () => void (breaksNext = true),
    async stop() {
      if (!server.listening) return
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
    async start() {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
  }
}

function describe(request: IncomingMessage, instance: number): Arrived {
  const headers = new Map<string, string[]>()
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i]!.toLowerCase().replace(/[^a-z0-9]+/g, '-')
    headers.set(name, [...(headers.get(name) ?? []), request.rawHeaders[i + 1]!])
  }
  const first = (...names: string[]) => names.map((name) => headers.get(name)?.[0]).find((value) => value !== undefined)
  const target = request.url ?? ''
  return {
    instance,
    target,
    method: (
      first('x-http-method-override', 'x-http-method', 'x-method-override') ??
      request.method ??
      ''
    ).toUpperCase(),
    path: plainest(first('x-original-url', 'x-original-uri', 'x-rewrite-url') ?? target),
    headers,
  }
}

/** Whatever any server ever did to a path. */
function plainest(target: string): string {
  let path = target.replace(/^https?:\/\/[^/]*/i, '')
  for (let i = 0; i < 3; i++) {
    path = path
      .replace(/%c0%af|%e0%80%af|%ef%bc%8f/gi, '/')
      .replace(/%c0%ae/gi, '.')
      .replace(/%u00([\da-f]{2})|%([\da-f]{2})/gi, (_, wide, byte) => String.fromCharCode(parseInt(wide ?? byte, 16)))
  }
  path = path
    .split(/[?#\0\r\n]/)[0]!
    .replaceAll('\\', '/')
    .replace(/;[^/]*/g, '')
    .toLowerCase()
  const segments: string[] = []
  for (const segment of path
    .split('/')
    .map((text) => (/^\.+$/.test(text.trim()) ? text.trim() : text.replace(/[\s.]+$/, '').trim()))) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  return `/${segments.join('/')}`
}
