// What a proxy asks Holdfast: what the request is, by the proxy's own word, and nothing else that changes how it is judged.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import type { Server } from '../../scripts/servers/server.ts'
import { ask, sendRaw } from './asked.ts'
import { caddy, haproxy, host, nginx, type Proxy } from './site.ts'

const requests = {
  'a form': ['POST /orders/1?x=%41 HTTP/1.1', 'Content-Length: 5', 'Expect: 100-continue', '', 'hello'],
  'a form in chunks': ['PUT /orders/1?x=%41 HTTP/1.1', 'Transfer-Encoding: chunked', '', '5', 'hello', '0', '', ''],
  'a WebSocket': [
    'GET /orders/1?x=%41 HTTP/1.1',
    'Connection: Upgrade, X-Forwarded-Uri',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    '',
    '',
  ],
}
/** What a client may say of each; the proxy alone knows. */
const said = [
  'X-Forwarded-Method: GET',
  'X-Forwarded-Host: other.test',
  'X-Forwarded-Uri: /public/x',
  'X-Forwarded-Proto: https',
  'X-Forwarded-For: 10.0.0.1',
  'X-Original-Url: /public/x',
  'X-Original-Uri: /public/x',
  'X-Original-Method: GET',
  'Forwarded: host=other.test',
]

for (const proxy of [nginx, haproxy, caddy]) {
  describe(proxy.name, () => {
    for (const [name, [start, ...rest]] of Object.entries(requests)) {
      it(`asks about ${name} without its body, and by its own word`, async () => {
        const bytes = [start, `Host: ${host.toUpperCase()}:80`, 'Cookie: a=1', ...said, ...rest].join('\r\n')
        const { method, url, headers } = await questionOf(proxy, bytes)
        assert.deepEqual([method, url!.split('?')[0]], ['GET', '/forward-auth'])
        const of = (field: string) => headers[field] ?? null
        assert.deepEqual(
          ['method', 'host', 'uri', 'proto', 'for'].map((field) => of(`x-forwarded-${field}`)),
          [[start!.split(' ')[0]], [host], ['/orders/1?x=%41'], ['http'], ['127.0.0.1']],
        )
        assert.deepEqual(of('cookie'), ['a=1'])
        if (name === 'a WebSocket') assert.deepEqual(of('sec-websocket-version'), ['13'])
        const absent = [
          'transfer-encoding',
          'upgrade',
          'x-original-url',
          'x-original-uri',
          'x-original-method',
          'forwarded',
        ]
        assert.deepEqual(
          absent.filter((field) => of(field) !== null),
          [],
        )
        assert.equal(of('content-length')?.[0] ?? '0', '0')
        // What this proxy has for itself stays there.
        assert.equal(of('x-forward-auth-secret'), null)
      })
    }
  })
}

for (const proxy of [haproxy, caddy]) {
  it(`${proxy.name} lets nobody in for a yes that does not say who it is`, async () => {
    await answeredWith(200, proxy, async (front, heard) => {
      const { status, headers } = await ask(front, '/orders/1')
      assert.deepEqual([status, headers['retry-after']], [503, '1'])
      assert.deepEqual(
        heard.map(({ url }) => url!.split('?')[0]),
        ['/forward-auth'],
      )
    })
  })
}

it('HAProxy lets nobody in where there is no room to say who it is', async () => {
  const answer = { 'x-holdfast-user': 'ada', 'x-holdfast-roles': 'r'.repeat(20_000) }
  await answeredWith(
    200,
    haproxy,
    async (front, heard) => {
      const { status } = await ask(front, '/orders/1', { headers: { 'x-long': 'a'.repeat(30_000) } })
      assert.equal(status, 503)
      assert.equal(heard.length, 1, 'the question alone')
    },
    answer,
  )
})

/** What Holdfast hears when these bytes come; it refuses. */
function questionOf(
  proxy: Proxy,
  bytes: string,
): Promise<Pick<IncomingMessage, 'method' | 'url'> & { headers: NodeJS.Dict<string[]> }> {
  return answeredWith(403, proxy, async (front, heard) => {
    assert.match(await sendRaw(front.port, bytes, /^HTTP\/1\.1 403 /m), /^HTTP\/1\.1 403 /m)
    const [{ method, url, headersDistinct: headers }] = heard as [IncomingMessage]
    return { method, url, headers }
  })
}

/** With the proxy in front of a server that answers each question with `status` and `headers` alone; it is the application, too. */
async function answeredWith<T>(
  status: number,
  proxy: Proxy,
  run: (front: Server, heard: readonly IncomingMessage[]) => Promise<T>,
  headers: Readonly<Record<string, string>> = {},
): Promise<T> {
  const heard: IncomingMessage[] = []
  const holdfast = createServer((request, response) => {
    const isCheck = /^\/(healthz|readyz)$/.test(request.url ?? '')
    if (!isCheck) heard.push(request)
    response.writeHead(isCheck ? 200 : status, headers).end()
  }).listen(0, '127.0.0.1')
  await once(holdfast, 'listening')
  const address = `127.0.0.1:${(holdfast.address() as AddressInfo).port}`
  const front = await proxy.start(proxy.config, {
    ADDRESS: '127.0.0.1',
    SITE: host,
    AUTH_1: address,
    AUTH_2: address,
    APP_1: address,
    APP_2: address,
    STICKY: proxy.sticky.cookie,
  })
  try {
    return await run(front, heard)
  } finally {
    await front.stop()
    holdfast.closeAllConnections()
    holdfast.close()
  }
}
