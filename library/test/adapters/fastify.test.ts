import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import fastify from 'fastify'
import { createSessions } from 'holdfast'
import { sessionPlugin } from 'holdfast/adapters/fastify'
import { memoryStore } from 'holdfast/stores/memory'
import { testAdapter } from 'holdfast/testing'
import { onFastify, sessionOf } from './servers.ts'

testAdapter('Fastify', { test, serve: onFastify })

test('who signs in while a stream goes out is told that the cookie can’t be sent any more', async () => {
  const sessions = createSessions({ store: memoryStore() })
  const app = fastify()
  await app.register(sessionPlugin(sessions))
  const body = new PassThrough()
  const inside = Promise.withResolvers<() => Promise<unknown>>()
  app.post('/', (request, reply) => {
    reply.send(body)
    body.write('begun')
    inside.resolve(() => sessionOf(request).signIn('ada'))
  })
  try {
    const url = await app.listen({ host: '127.0.0.1', port: 0 })
    const response = await fetch(url, { method: 'POST' })
    await assert.rejects(await inside.promise, { reason: 'undeliverable' })
    body.end()
    assert.equal(await response.text(), 'begun')
    assert.deepEqual(await sessions.list('ada'), [])
  } finally {
    body.end()
    await app.close()
  }
})
