// The OpenAPI document names every call, and says of each what the service does.
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { serviceOn, type TestService } from './service.ts'

const calls = [
  'POST /v1/sessions',
  'POST /v1/sessions/verify',
  'POST /v1/sessions/refresh',
  'POST /v1/assertions',
  'GET /v1/sessions/{id}',
  'DELETE /v1/sessions/{id}',
  'GET /v1/sessions/{id}/data',
  'GET /v1/sessions/{id}/data/{section}',
  'PUT /v1/sessions/{id}/data/{section}',
  'DELETE /v1/sessions/{id}/data/{section}',
  'GET /v1/users/{userId}/sessions',
  'DELETE /v1/users/{userId}/sessions',
  'PUT /v1/users/{userId}/roles',
  'GET /v1/feed',
  'GET /.well-known/jwks.json',
  'GET /.well-known/oauth-authorization-server',
  'POST /oauth/introspect',
  'POST /oauth/revoke',
  'GET /healthz',
  'GET /readyz',
  'GET /metrics',
]

interface Operation {
  operationId: string
  summary: string
  tags: string[]
  parameters?: { name: string; in: string; required?: boolean; schema: object }[]
  requestBody?: { content: Record<string, { schema: { type?: string; additionalProperties?: unknown } }> }
  responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>
  security?: object[]
}

describe('the OpenAPI document', () => {
  let service: TestService
  let document: {
    openapi: string
    info: { version: string }
    paths: Record<string, Record<string, Operation>>
    components: object
    security: object[]
  }
  let text: string
  before(async () => {
    service = await serviceOn('memory:')
    const answer = await service.call('GET', '/openapi.json', { as: null })
    assert.equal(answer.status, 200)
    text = answer.text
    document = answer.body
  })
  after(() => service.stop())

  const operations = () =>
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        name: `${method.toUpperCase()} ${path}`,
        path,
        operation,
      })),
    )

  it('names every call, and no other', () => {
    assert.deepEqual(
      operations()
        .map(({ name }) => name)
        .toSorted(),
      calls.toSorted(),
    )
  })

  it('is whole: ids once, parameters of every path, an answer and a summary for each, references that lead somewhere', () => {
    assert.equal(document.openapi, '3.1.0')
    const all = operations()
    assert.equal(new Set(all.map(({ operation }) => operation.operationId)).size, all.length)
    for (const { name, path, operation } of all) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter)
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
      assert.deepEqual(
        declared.map((parameter) => parameter.name),
        inPath,
        name,
      )
      assert.ok(
        declared.every(({ required }) => required === true),
        name,
      )
      assert.ok(operation.summary.length > 0 && operation.tags.length === 1, name)
      const answers = Object.entries(operation.responses)
      assert.ok(
        answers.some(([status]) => status.startsWith('2')),
        name,
      )
      assert.ok(
        answers.every(([, { description }]) => typeof description === 'string'),
        name,
      )
    }
    assert.doesNotMatch(text, /"\$ref"/)
  })

  it('says what is open to everyone and what wants a client', async () => {
    for (const { name, operation } of operations()) {
      const open = /^GET \/(healthz|readyz|metrics|\.well-known\/.*)$/.test(name)
      assert.deepEqual(operation.security ?? document.security, open ? [] : [{ client: [] }], name)
      const [method, path] = name.split(' ') as [string, string]
      const { status } = await service.call(method, path.replaceAll(/\{\w+\}/g, 'x'), { as: null })
      assert.equal(status, open ? 200 : 401, name)
    }
  })

  it('says that bodies have no other fields, and how errors look', () => {
    const start = document.paths['/v1/sessions']!['post']!
    assert.equal(start.requestBody!.content['application/json']!.schema.additionalProperties, false)
    assert.ok('application/x-www-form-urlencoded' in document.paths['/oauth/revoke']!['post']!.requestBody!.content)
    assert.ok('application/problem+json' in start.responses['default']!.content!)
  })

  it('has a page', async () => {
    const { status, text: page, headers } = await service.call('GET', '/docs/', { as: null })
    assert.equal(status, 200)
    assert.match(page, /swagger-ui/)
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.match(page, /<title>Holdfast<\/title>/)
    const policy = headers.get('content-security-policy')!
    assert.match(policy, /default-src 'self'/)
    // On plain HTTP under a name other than loopback's, the page would load nothing at all.
    assert.doesNotMatch(policy, /upgrade-insecure-requests|https|swagger\.io/)
    const root = await fetch(service.url, { redirect: 'manual' })
    assert.deepEqual([root.status, root.headers.get('location')], [302, '/docs/'])
    const script = await service.call('GET', '/docs/static/swagger-initializer.js', { as: null })
    assert.match(script.text, /openapi\.json/)
  })
})

it('metrics count what happened, and name nobody', async () => {
  const service = await serviceOn('memory:')
  const { id, token } = await service.start({ userId: 'somebody' })
  await service.call('POST', '/v1/sessions/verify', { body: { token: 'nonsense' } })
  await service.call('DELETE', `/v1/sessions/${id}`)
  await service.call('GET', `/v1/sessions/${id}`, { as: 'admin:wrong' })
  const { text, headers } = await service.call('GET', '/metrics', { as: null })
  assert.match(headers.get('content-type')!, /^text\/plain; version=0\.0\.4/)
  for (const line of [
    'holdfast_sessions_started_total 1',
    'holdfast_sessions_ended_total{reason="ended"} 1',
    'holdfast_tokens_refused_total{reason="malformed"} 1',
    'holdfast_clients_refused_total 1',
    'holdfast_store_up 1',
    'http_server_request_duration_seconds_count{method="POST",route="/v1/sessions",status="201"} 1',
    'http_server_request_duration_seconds_count{method="GET",route="/v1/sessions/:id",status="401"} 1',
  ]) {
    assert.ok(text.split('\n').includes(line), `${line} in\n${text}`)
  }
  for (const name of ['somebody', id, token]) assert.ok(!text.includes(name))
  await service.stop()
})

it('the log has a line for every request and every change of a session, without ids, paths or tokens', async () => {
  const service = await serviceOn('memory:')
  const { id } = await service.start({ userId: 'somebody' })
  await service.call('DELETE', `/v1/sessions/${id}`)
  const [started, request, ended, last] = service.lines
  assert.deepEqual([started!['msg'], started!['user']], ['session started', 'somebody'])
  const { id: requestId, ms, time, ...rest } = request!
  assert.match(String(requestId), /^[a-z0-9]+-[a-z0-9]+$/)
  assert.ok(typeof ms === 'number' && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(String(time)))
  assert.deepEqual(rest, {
    level: 'info',
    name: 'holdfast',
    method: 'POST',
    route: '/v1/sessions',
    status: 201,
    client: 'admin',
    msg: 'request',
  })
  assert.deepEqual([ended!['msg'], ended!['sessions']], ['session ended', [started!['session']]])
  assert.equal(last!['route'], '/v1/sessions/:id')
  assert.ok(!JSON.stringify(service.lines).includes(id))
  await service.stop()
})
