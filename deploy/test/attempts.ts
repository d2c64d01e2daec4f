// Attempts to be taken for somebody else, or to have a path judged as another one. Each is bytes on a connection.
import { host } from './site.ts'

export interface Attempt {
  readonly name: string
  /** `cookie` is the `Cookie` line of who attempts it, with its end, or nothing. */
  bytes(cookie: string): string
}

const crlf = '\r\n'

function attempt(name: string, startLine: string, ...lines: readonly string[]): Attempt {
  return {
    name: `${name}: ${JSON.stringify([startLine, ...lines].join(' | ')).slice(0, 120)}`,
    bytes: (cookie) =>
      `${startLine}${crlf}Host: ${host}${crlf}${cookie}${lines.map((line) => line + crlf).join('')}${crlf}`,
  }
}

/** Exactly these lines, but for `@cookie`. */
function exactly(name: string, ...lines: readonly string[]): Attempt {
  return {
    name: `${name}: ${JSON.stringify(lines.join(' | ')).slice(0, 120)}`,
    bytes: (cookie) => lines.map((line) => (line === '@cookie' ? cookie : line + crlf)).join(''),
  }
}

const handshake = ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13']

/** Lines of a header: each is tried where anybody may go, and where only users may. */
const spoofed: readonly (readonly string[])[] = [
  ['X-Holdfast-User: root'],
  ['x-holdfast-user: root'],
  ['X-HOLDFAST-USER: root'],
  ['X_Holdfast_User: root'],
  ['X-Holdfast_User: root'],
  ['X_Holdfast-User: root'],
  ['X.Holdfast.User: root'],
  ['X+Holdfast+User: root'],
  ['X~Holdfast~User: root'],
  ['X-Holdfast-User : root'],
  ['X-Holdfast-User\t: root'],
  [' X-Holdfast-User: root'],
  ['Accept: */*', ' X-Holdfast-User: root'],
  ['X-Other: a', '\tX-Holdfast-User: root'],
  ['X-Holdfast-User:', ' root'],
  ['X-Holdfast-User: a', 'X-Holdfast-User: root'],
  ['X-Holdfast-User: ', 'X-Holdfast-User: root', 'x-holdfast-user: root'],
  ['X-Holdfast-User: root\0'],
  ['X-Holdfast-User\0: root'],
  ['X-Other: a\nX-Holdfast-User: root'],
  ['X-Other: a\rX-Holdfast-User: root'],
  ['X-Other: a\r X-Holdfast-User: root'],
  ['X-Holdfast-User:root', 'X-Holdfast-Roles:admin', 'X-Holdfast-Session:AAAAAAAAAAAAAAAAAAAAAA'],
  ['X-Holdfast-Roles: admin'],
  ['X-Holdfast-Acr: aal3', 'X-Holdfast-Amr: hwk', 'X-Holdfast-Authenticated-At: 9999999999999'],
  ['X_Holdfast_Authenticated_At: 9999999999999'],
  ['Txn-Token: eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.'],
  ['Txn_Token: eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.'],
  ['Txn.Token: eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.'],
  ['X.Real.Ip: 10.0.0.1', 'X.Forwarded.Uri: /public/x', 'X.Method.Override: GET'],
  ['TXN-TOKEN: eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.'],
  ['Connection: X-Holdfast-User'],
  ['Connection: close, X-Holdfast-User, X-Holdfast-Roles, X-Holdfast-Session, Txn-Token'],
  ['Connection: keep-alive', 'Connection: x-holdfast-user'],
  ['Connection: Cookie'],
  ['Connection: X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-Host'],
  ['Connection: Upgrade, X-Holdfast-User', 'Upgrade: websocket'],
  ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA'],
  ['Connection: Upgrade', 'Upgrade: TLS/1.0'],
  ...[
    ['Upgrade: websocket', 'Upgrade: h2c'],
    ['Upgrade: h2c', 'Upgrade: websocket'],
    ['Upgrade: websocket, h2c'],
    ['Upgrade: h2c, websocket'],
  ].flatMap((upgrade) => [
    ['Connection: Upgrade', ...upgrade],
    ['Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA', ...upgrade, ...handshake],
  ]),
  ['Keep-Alive: X-Holdfast-User', 'Proxy-Connection: X-Holdfast-User'],
  ['TE: trailers', 'Trailer: X-Holdfast-User'],
  ['X-Forwarded-Uri: /public/x'],
  ['X_Forwarded_Uri: /public/x'],
  ['X-Forwarded-Method: GET', 'X-Forwarded-Host: other.test', 'X-Forwarded-Proto: https', 'X-Forwarded-For: 10.0.0.1'],
  ['X-Original-Url: /admin', 'X-Original-Method: DELETE'],
  ['X-Original-Uri: /admin'],
  ['X_Original_Url: /admin'],
  ['X-Rewrite-Url: /admin'],
  ['X-Forwarded-Prefix: /admin', 'X-Forwarded-Server: other.test', 'X-Forwarded-Port: 1', 'X-Real-Ip: 10.0.0.1'],
  ['Forwarded: for=10.0.0.1;host=other.test;proto=https'],
  ['X-Http-Method-Override: DELETE'],
  ['X-HTTP-Method: DELETE'],
  ['X-Method-Override: DELETE'],
  ['X_Http_Method_Override: DELETE'],
  // Holdfast refuses what says something else than the request. What says the same is for the proxy alone to drop.
  ...['X-Http-Method-Override', 'X-HTTP-Method', 'X-Method-Override', 'X-Original-Method'].map((name) => [
    `${name}: GET`,
  ]),
  ...['X-Original-Url', 'X-Original-Uri', 'X-Rewrite-Url'].map((name) => [`${name}: /public/x`]),
  ['Authorization: Bearer x', 'Authorization: Bearer y'],
  ['Authorization: Basic cm9vdDpyb290'],
  ['User-Agent: ELB-HealthChecker/2.0', 'X-Middleware-Subrequest: middleware'],
  [`X-Long: ${'a'.repeat(7_000)}`],
  [`X-Long: ${'a'.repeat(40_000)}`],
  [`X-Holdfast-User: ${'a'.repeat(17_000)}`],
  Array.from({ length: 150 }, (_, i) => `X-N${i}: a`),
]

const cookies: readonly string[] = [
  'Cookie: __Host-session=root',
  'Cookie: __Host-session=; __Host-session=a.b',
  'Cookie: __Host-session=~3.a; __Host-session~1=b',
  'Cookie: __host-session=a; __HOST-SESSION=b',
  'Cookie: __Host-session="quoted"',
  'Cookie: __Host-session=%00%0d%0aX-Holdfast-User:%20root',
  'Cookie: =;;;=; ,',
  `Cookie: __Host-session=${'A'.repeat(22)}.${'A'.repeat(22)}`,
  `Cookie: __Host-session=${'A'.repeat(12_000)}`,
  'Cookie: $Version=1; __Host-session=root; $Path=/',
]

/** Ways to say /admin, for one who may not go there. */
const paths: readonly string[] = [
  '/.holdfast',
  '/forward-auth',
  '/forward-auth/public/x',
  '/@not_signed_in',
  '/admin',
  '/admin/',
  '/admin/users',
  '/ADMIN',
  '/Admin/users',
  '//admin',
  '///admin/users',
  '/./admin',
  '/public/../admin',
  '/public/%2e%2e/admin',
  '/public/.%2e/admin',
  '/public/..;/admin',
  '/public/..%2fadmin',
  '/public/..%5cadmin',
  '/public/..\\admin',
  '/public\\..\\admin',
  '/public/%252e%252e/admin',
  '/public/..%252fadmin',
  '/public/..%c0%afadmin',
  '/public/%c0%ae%c0%ae/admin',
  '/public/%u002e%u002e/admin',
  '/public/..\xef\xbc\x8fadmin',
  '/public/x/../../admin',
  '/public/../../../admin',
  '/public//../admin',
  '/public/.../../admin',
  '/%61dmin',
  '/%61%64%6d%69%6e',
  '/%2561dmin',
  '/admin%2f',
  '/admin%2fusers',
  '/%2fadmin',
  '/%2Fadmin',
  '/%5cadmin',
  '/\\admin',
  '/admin\\users',
  '/admin;x',
  '/admin;x=/public/x',
  '/;/admin',
  '/;x/admin',
  '/admin%3bx',
  '/admin%00',
  '/%00/admin',
  '/admin%20',
  '/admin.',
  '/admin%2e',
  '/admin%09',
  '/admin%0d%0aX-Holdfast-User:%20root',
  '/admin#/public/x',
  '/public/x#/../../admin',
  '/admin?x=/public/x',
  '/admin%3f/public/x',
  '/admin%23/public/x',
  '/public/x?/../../admin',
  '/public/x%3f/../../admin',
  '/admin?',
  '/%EF%BC%8Fadmin',
  '/ad%C5%82min/../admin',
  '/\xe1\xb4\xacdmin',
  'admin',
  './admin',
  '*',
  '',
  '?/admin',
  'admin:80',
  `http://${host}/admin`,
  `HTTP://${host.toUpperCase()}/admin`,
  `http://other.test/admin`,
  `http://other.test@${host}/admin`,
  `http://${host}/public/../admin`,
  `http://${host}\\@other.test/admin`,
  `https://${host}/%61dmin`,
  `ftp://${host}/admin`,
  `//${host}/admin`,
  `http:///admin`,
  `http:/admin`,
  `/public/x/${'../'.repeat(3_000)}admin`,
]

const methods: readonly string[] = [
  'HEAD',
  'OPTIONS',
  'TRACE',
  'TRACK',
  'CONNECT',
  'DELETE',
  'PUT',
  'PATCH',
  'PROPFIND',
  'PURGE',
  'DEBUG',
  'get',
  'Get',
  'GET\0',
  'FOO',
  'X-Y',
  'G\tET',
  '"GET"',
  '',
  'GETGETGETGETGETGETGETGETGETGETGETGETGETGET',
]

const hosts: readonly (readonly string[])[] = [
  ['Host: SHOP.TEST'],
  ['Host: shop.test.'],
  ['Host: shop.test..'],
  ['Host: shop.test:80'],
  ['Host: shop.test:99999'],
  ['Host: shop.test:80:80'],
  ['Host: other.test'],
  ['Host: other.test', 'Host: shop.test'],
  ['Host: shop.test', 'Host: other.test'],
  ['Host: shop.test', 'Host: shop.test'],
  ['Host: shop.test, other.test'],
  ['Host: shop.test other.test'],
  ['Host: shop.test/admin'],
  ['Host: shop.test?'],
  ['Host: root@shop.test'],
  ['Host: shop.test\0.other.test'],
  ['Host: shop.test\t'],
  ['Host:'],
  ['Host : shop.test'],
  ['Host: shop.test', ' other.test'],
  ['Host: shop.test', 'X-Forwarded-Host: other.test', 'X-Host: other.test'],
  [],
]

const smuggled = `GET /admin HTTP/1.1${crlf}Host: ${host}${crlf}X-Holdfast-User: root${crlf}X-Holdfast-Roles: admin${crlf}${crlf}`
/** A body that is a request, whoever counts it otherwise. */
const length = String(smuggled.length)
const chunked = `${smuggled.length.toString(16)}${crlf}${smuggled}${crlf}0${crlf}${crlf}`

/** Requests whose end may be seen in two ways, each with a request behind the one of the two. */
const framings: readonly (readonly string[])[] = [
  ['Content-Length: 4', 'Transfer-Encoding: chunked'],
  ['Transfer-Encoding: chunked', 'Content-Length: 4'],
  [`Content-Length: ${length}`, 'Content-Length: 0'],
  ['Content-Length: 0', `Content-Length: ${length}`],
  [`Content-Length: 0, ${length}`],
  ['Content-Length: +0'],
  ['Content-Length: -1'],
  ['Content-Length: 0x0'],
  ['Content-Length: 0 0'],
  ['Content-Length:\v0'],
  ['Content-Length: '],
  ['Content-Length: 99999999999999999999'],
  ['Content_Length: 0'],
  ['Transfer-Encoding: chunked, identity'],
  ['Transfer-Encoding: identity'],
  ['Transfer-Encoding: xchunked'],
  ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
  ['Transfer-Encoding : chunked'],
  ['Transfer-Encoding:\tchunked'],
  ['Transfer-Encoding:\vchunked'],
  [' Transfer-Encoding: chunked'],
  ['X: y', ' Transfer-Encoding: chunked'],
  ['Transfer-Encoding:', ' chunked'],
  ['Transfer-Encoding: "chunked"'],
  ['Transfer_Encoding: chunked'],
  ['Transfer-Encoding\0: chunked'],
  ['Connection: Content-Length', `Content-Length: ${length}`],
  ['Connection: Transfer-Encoding', 'Transfer-Encoding: chunked'],
  ['Expect: 100-continue', `Content-Length: ${length}`],
]

export const attempts: readonly Attempt[] = [
  ...spoofed.flatMap((lines) => [
    attempt('a header', 'GET /public/x HTTP/1.1', ...lines),
    attempt('a header', 'GET /account HTTP/1.1', ...lines),
  ]),
  ...cookies.map((line) => attempt('a cookie', 'GET /account HTTP/1.1', line)),
  ...cookies.map((line) => exactly('a cookie', 'GET /account HTTP/1.1', `Host: ${host}`, line, '@cookie', '')),
  ...paths.map((path) => attempt('a path', `GET ${path} HTTP/1.1`)),
  ...methods.flatMap((method) => [
    attempt('a method', `${method} /admin HTTP/1.1`),
    attempt('a method', `${method} /orders/1 HTTP/1.1`, 'Content-Length: 0'),
  ]),
  ...hosts.flatMap((lines) => [
    exactly('a host', 'GET /admin HTTP/1.1', ...lines, '@cookie', ''),
    exactly('a host', 'GET /account HTTP/1.1', ...lines, '@cookie', ''),
    exactly('a host', 'GET http://shop.test/account HTTP/1.1', ...lines, '@cookie', ''),
  ]),
  exactly('HTTP/1.0', 'GET /admin HTTP/1.0', '@cookie', ''),
  exactly('HTTP/1.0', 'GET /admin HTTP/1.0', `Host: ${host}`, '@cookie', ''),
  exactly('HTTP/1.0', 'GET /account HTTP/1.0', 'X-Holdfast-User: root', '@cookie', ''),
  exactly('HTTP/0.9', 'GET /admin', ''),
  exactly('HTTP/2.0', 'GET /admin HTTP/2.0', `Host: ${host}`, '@cookie', ''),
  exactly('HTTP/1.9', 'GET /admin HTTP/1.9', `Host: ${host}`, '@cookie', ''),
  exactly('HTTP/2 at once', 'PRI * HTTP/2.0', '', 'SM', ''),
  exactly('two targets', 'GET /public/x /admin HTTP/1.1', `Host: ${host}`, '@cookie', ''),
  exactly('two targets', 'GET /public/x HTTP/1.1 /admin HTTP/1.1', `Host: ${host}`, '@cookie', ''),
  exactly('lines before', '', '', 'GET /admin HTTP/1.1', `Host: ${host}`, '@cookie', ''),
  exactly('LF alone', `GET /account HTTP/1.1\nHost: ${host}\nX-Holdfast-User: root\n`, ''),
  ...framings.flatMap((lines) =>
    [smuggled, chunked, `0${crlf}${crlf}${smuggled}`].map((body) => {
      const { name, bytes } = attempt('a framing', 'POST /public/x HTTP/1.1', ...lines)
      return { name, bytes: (cookie: string) => bytes(cookie) + body }
    }),
  ),
  ...[`1;a=${crlf}`, `1;\n`, `0x1${crlf}`, `1 ${crlf}`, `-1${crlf}`, `10000000000000001${crlf}`, `1\r`].map((size) => {
    const { name, bytes } = attempt(
      `a chunk ${JSON.stringify(size)}`,
      'POST /public/x HTTP/1.1',
      'Transfer-Encoding: chunked',
    )
    return { name, bytes: (cookie: string) => `${bytes(cookie)}${size}A${crlf}0${crlf}${crlf}${smuggled}` }
  }),
  {
    name: 'a trailer',
    bytes: (cookie) =>
      `POST /public/x HTTP/1.1${crlf}Host: ${host}${crlf}${cookie}Transfer-Encoding: chunked${crlf}Trailer: X-Holdfast-User${crlf}${crlf}` +
      `1${crlf}A${crlf}0${crlf}X-Holdfast-User: root${crlf}${crlf}`,
  },
]
