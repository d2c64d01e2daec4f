// Input that is wrong, too large or hostile: a clear answer, and nothing lost.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { assertNoSecrets, basic, adminSecret, engines, serviceOn, type Answer, type TestService } from './service.ts'

describe('bad input', () => {
  let store: Awaited<ReturnType<(typeof engines)[0]['start']>>
  let service: TestService
  before(async () => {
    store = await engines[0]!.start()
    service = await serviceOn(store.url)
  })
  after(async () => {
    await service.stop()
    await store.stop()
  })

  const start = (body: unknown) => service.call('POST', '/v1/sessions', { body })

  function assertProblem({ status, headers, body }: Answer, expected: number, code: string): void {
    assert.deepEqual([status, body?.code], [expected, code])
    assert.match(headers.get('content-type')!, /^application\/problem\+json/)
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.deepEqual(
      [body.type, body.status, typeof body.title, typeof body.detail],
      ['about:blank', expected, 'string', 'string'],
    )
  }

  it('names every field that is wrong or not known', async () => {
    const answer = await start({
      userId: '',
      roles: 'clerk',
      admin: true,
      device: { adress: '::1' },
      data: { '1st': 1 },
    })
    assertProblem(answer, 400, 'invalid-request')
    const paths = answer.body.issues.map(({ path }: { path: string }) => path)
    assert.deepEqual(paths.toSorted(), [
      'body.admin',
      'body.data.1st',
      'body.device.adress',
      'body.roles',
      'body.userId',
    ])
  })

  const wrongBodies: readonly (readonly [what: string, body: object, path: string])[] = [
    ['no user', {}, 'body.userId'],
    ['a user id of 257 characters', { userId: 'x'.repeat(257) }, 'body.userId'],
    ['a user id with a control character', { userId: 'a\u0000b' }, 'body.userId'],
    ['a user id with a line break', { userId: 'a\nb' }, 'body.userId'],
    ['a number as user', { userId: 7 }, 'body.userId'],
    ['an expiry of its own', { userId: 'ada', expiresAt: 9e15 }, 'body.expiresAt'],
    ['a client of its own', { userId: 'ada', client: 'other' }, 'body.client'],
    ['an id of its own', { userId: 'ada', id: 'A'.repeat(22) }, 'body.id'],
    ['an unknown credential', { userId: 'ada', credential: 'sealed' }, 'body.credential'],
    ['too many roles', { userId: 'ada', roles: Array.from({ length: 101 }, () => 'r') }, 'body.roles'],
    ['huge claims', { userId: 'ada', claims: { x: 'x'.repeat(9000) } }, 'body.claims'],
    ['an address that is none', { userId: 'ada', device: { address: 'home' } }, 'body.device.address'],
    ['an array', [], 'body'],
  ]
  for (const [what, body, path] of wrongBodies) {
    it(`refuses ${what}, naming it`, async () => {
      const answer = await start(body)
      assertProblem(answer, 400, 'invalid-request')
      assert.equal(answer.body.issues[0].path, path)
      assert.ok(answer.body.detail.includes(path))
    })
  }

  it('refuses queries and paths that it does not know', async () => {
    const id = 'A'.repeat(22)
    for (const [method, path, named] of [
      ['POST', '/v1/sessions?x=1', 'query.x'],
      ['DELETE', `/v1/sessions/${id}?settled=1`, 'query.settled'],
      ['GET', `/v1/users/ada/sessions?expect=${id}`, 'query.expect'],
      ['GET', '/v1/users/ada/sessions?except=x', 'query.except'],
      ['DELETE', `/v1/users/ada/sessions?except=${id}&except=${id}`, 'query.except'],
      ['GET', '/v1/sessions/short', 'path.id'],
      ['GET', `/v1/sessions/${id}%00`, 'path.id'],
      ['GET', `/v1/sessions/${'A'.repeat(21)}*`, 'path.id'],
      ['GET', `/v1/sessions/${id}/data/1st`, 'path.section'],
      ['GET', `/v1/sessions/${id}/data/__proto__`, 'path.section'],
      ['GET', `/v1/users/${'x'.repeat(257)}/sessions`, 'path.userId'],
      ['GET', '/v1/users/a%0Ab/sessions', 'path.userId'],
    ] as const) {
      const answer = await service.call(method, path, method === 'POST' ? { body: { userId: 'a' } } : {})
      assertProblem(answer, 400, 'invalid-request')
      assert.equal(answer.body.issues[0].path, named)
    }
    assertProblem(await service.call('GET', '/v1/users/%ff/sessions'), 400, 'invalid-request')
    assertProblem(await service.call('GET', '/nothing'), 404, 'not-found')
    assertProblem(await service.call('PATCH', '/v1/sessions', { body: {} }), 405, 'method-not-allowed')
    const { headers } = await service.call('OPTIONS', `/v1/sessions/${id}`)
    assert.equal(headers.get('allow'), 'GET, HEAD, DELETE')
  })

  it('accepts a user id of 256 characters, however they are written in a path', async () => {
    const user = '\u{1f600}'.repeat(128)
    await service.start({ userId: user })
    const { body } = await service.call('GET', `/v1/users/${encodeURIComponent(user)}/sessions`)
    assert.equal(body.sessions.length, 1)
  })

  const brokenJson: readonly (readonly [text: string, where: string])[] = [
    ['', 'Invalid input'],
    ['{', 'it ends too early, at position 1'],
    ['{"userId":', 'it ends too early, at position 10'],
    ['{"userId":"ada"', 'it ends too early, at position 15'],
    ['{"userId":ada}', 'position 10 (line 1, column 11)'],
    ['{"userId":"ada",}', 'position 16 (line 1, column 17)'],
    ['{\n  "userId": "ada"\n  "roles": []\n}', 'position 22 (line 3, column 3)'],
    ["{'userId':'ada'}", 'position 1 (line 1, column 2)'],
    ['{"userId":"ada"}}', 'position 16 (line 1, column 17)'],
    ['{"userId":"a\tb"}', 'position 10 (line 1, column 11)'],
    ['[01]', 'position 2 (line 1, column 3)'],
    ['\ufeff{}', 'position 0 (line 1, column 1)'],
  ]
  for (const [text, where] of brokenJson.slice(1)) {
    it(`says where this is no JSON: ${JSON.stringify(text)}`, async () => {
      const answer = await start(text)
      assertProblem(answer, 400, 'invalid-json')
      assert.ok(answer.body.detail.endsWith(where), answer.body.detail)
    })
  }

  it('refuses what JSON can say and a store can not keep', async () => {
    for (const text of [
      '{"userId":"\\ud800"}',
      '{"userId":"ada","data":{"a":{"\\udfff":1}}}',
      '{"userId":"ada","__proto__":{"roles":["admin"]}}',
      '{"userId":"ada","data":{"a":[{"__proto__":1}]}}',
      '{"userId":"ada","data":{"a":{"\\u005f_proto__":1}}}',
      '{"userId":"ada","claims":{"constructor":{"prototype":1}}}',
      '{"userId":"ada","claims":{"n":1e400}}',
    ]) {
      assertProblem(await start(text), 400, 'invalid-json')
    }
    assertProblem(await start(Buffer.from('7b227573657249643a22ff227d', 'hex')), 400, 'invalid-json')
  })

  it('refuses depth at once, whether it is well formed or not', async () => {
    const deep = (depth: number) => `{"userId":"ada","data":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`
    assert.equal((await start(deep(62))).status, 201)
    assertProblem(await start(deep(63)), 400, 'invalid-json')
    assertProblem(await start(deep(100_000)), 400, 'invalid-json')
    assertProblem(await start('['.repeat(1_000_000)), 400, 'invalid-json')
    assertProblem(await start('{"a":'.repeat(100_000)), 400, 'invalid-json')
    assert.equal((await service.call('GET', '/healthz')).status, 200)
  })

  it('refuses bodies over 1 MiB', async () => {
    assertProblem(
      await start(JSON.stringify({ userId: 'ada', data: { a: 'x'.repeat(1_100_000) } })),
      413,
      'body-too-large',
    )
    const huge = await raw(
      `POST /v1/sessions HTTP/1.1\r\n${host()}${authorization()}Content-Type: application/json\r\nContent-Length: 10485760\r\n\r\n`,
    )
    assert.match(huge, /^HTTP\/1\.1 413 /)
    assert.match(huge, /cache-control: no-store/i)
  })

  it('takes JSON alone, and forms where OAuth wants them', async () => {
    for (const type of [
      'text/plain',
      'application/xml',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
    ]) {
      const answer = await service.call('POST', '/v1/sessions', { body: '{}', headers: { 'content-type': type } })
      assertProblem(answer, 415, 'unsupported-media-type')
    }
    const charset = await service.call('POST', '/v1/sessions', {
      body: '{"userId":"ada"}',
      headers: { 'content-type': 'application/json; charset=utf-8' },
    })
    assert.equal(charset.status, 201)
  })

  it('has an answer for tokens of any size and kind', async () => {
    const { token } = await service.start()
    for (const wrong of [
      '',
      'x'.repeat(1_000_000),
      token.toUpperCase(),
      `${token}${token}`,
      'eyJhbGciOiJub25lIn0.e30.',
      '\u0000',
      '💥',
    ]) {
      const { status, body } = await service.call('POST', '/v1/sessions/verify', { body: { token: wrong } })
      assert.ok(status === 200 || status === 429)
      if (status === 200) assert.equal(body.active, false)
    }
    // Never taken from anywhere but the body.
    const inQuery = await service.call('POST', `/v1/sessions/verify?token=${token}`, { body: { token } })
    assertProblem(inQuery, 400, 'invalid-request')
    assert.ok(!inQuery.text.includes(token))
    const good = await service.call('POST', '/v1/sessions/verify', { body: { token } })
    assert.equal(good.body.active, true)
  })

  it('refuses headers that could be read in two ways', async () => {
    const get = (headers: string) => raw(`GET /v1/users/ada/sessions HTTP/1.1\r\n${headers}Connection: close\r\n\r\n`)
    assert.match(await get(`${host()}${authorization()}`), /^HTTP\/1\.1 200 /)
    for (const headers of [
      `${host()}${authorization()}${authorization()}`,
      `${host()}${authorization()}authorization: Basic eDp5\r\n`,
      `${host()}${host()}${authorization()}`,
      `${host()}HOST: other\r\n${authorization()}`,
      authorization(),
    ]) {
      const answer = await get(headers)
      assert.match(answer, /^HTTP\/1\.1 400 /)
      assert.match(answer, /application\/problem\+json/)
      assert.match(answer, /cache-control: no-store/i)
    }
  })

  it('answers what is no HTTP, and headers that are too large, with a problem', async () => {
    for (const [request, status] of [
      ['nonsense\r\n\r\n', 400],
      ['GET / HTTP/1.1\r\nBad Header: x\r\n\r\n', 400],
      [`GET /healthz HTTP/1.1\r\n${host()}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
      [`POST /v1/sessions HTTP/1.1\r\n${host()}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ] as const) {
      const answer = await raw(request)
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer)
      assert.match(answer, /application\/problem\+json/)
      assert.match(answer, /cache-control: no-store/i)
    }
  })

  it('trusts no header about where a request comes from', async () => {
    const { body } = await service.call('POST', '/v1/sessions', {
      body: { userId: 'ada' },
      headers: { 'x-forwarded-for': '198.51.100.9', forwarded: 'for=198.51.100.9' },
    })
    assert.equal(body.session.device.address, null)
  })

  it('repeats nothing that was sent into the log', async () => {
    await start('{"userId":"ada", broken "the-secret-in-a-body"')
    await service.call('GET', '/v1/users/a-user-in-a-path/sessions')
    await service.call('GET', '/the-secret-in-a-path?token=the-secret-in-a-query')
    const log = JSON.stringify(service.lines)
    assertNoSecrets(log)
    for (const text of ['the-secret-in', 'a-user-in-a-path']) assert.ok(!log.includes(text), text)
  })

  const host = () => `Host: ${new URL(service.url).host}\r\n`
  const authorization = () => `Authorization: ${basic(`admin:${adminSecret}`)}\r\n`

  /** What comes back for these bytes, until the other side or silence after an answer ends it. */
  async function raw(request: string): Promise<string> {
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
    let answer = ''
    socket.setEncoding('utf8').on('data', (text: string) => {
      answer += text
      if (!/connection: close/i.test(request)) socket.end()
    })
    socket.on('error', () => {})
    socket.write(request)
    await once(socket, 'close')
    return answer
  }
})
