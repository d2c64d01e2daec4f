import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSessions, type SessionEvent } from 'holdfast'
import { sessionHandler } from 'holdfast/adapters/node'
import { memoryStore } from 'holdfast/stores/memory'
import { testAdapter } from 'holdfast/testing'
import { listen, onNode } from './servers.ts'

testAdapter('node:http', { test, serve: onNode })

const sameOrigin = { 'sec-fetch-site': 'same-origin' }

test('an error that is none of ours is a bare 500: the client learns nothing of it', async (t) => {
  const complaints = t.mock.method(console, 'error', () => {})
  const sessions = createSessions({ store: memoryStore() })
  const { url, close } = await listen(
    sessionHandler(sessions, () => {
      throw new Error('the password of the database is hunter2')
    }),
  )
  try {
    const reply = await fetch(url)
    assert.equal(reply.status, 500)
    assert.deepEqual(await reply.json(), { type: 'about:blank', title: 'Internal Server Error', status: 500 })
    assert.equal(complaints.mock.callCount(), 1)
  } finally {
    await close()
  }
})

test('an error after the answer has begun breaks the connection instead of pretending', async (t) => {
  t.mock.method(console, 'error', () => {})
  const sessions = createSessions({ store: memoryStore() })
  const { url, close } = await listen(
    sessionHandler(sessions, async (_, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('half')
      throw new Error('mine')
    }),
  )
  try {
    await assert.rejects(async () => (await fetch(url)).text())
  } finally {
    await close()
  }
})

test('errors of sessions say what is wrong as problem+json', async () => {
  const sessions = createSessions({ store: memoryStore() })
  const { url, close } = await listen(
    sessionHandler(sessions, (_request, _response, session) => session.require('orders:read')),
  )
  try {
    const reply = await fetch(url)
    assert.equal(reply.status, 401)
    assert.equal(reply.headers.get('content-type'), 'application/problem+json')
    assert.equal(reply.headers.get('cache-control'), 'no-store')
    const { code, detail } = (await reply.json()) as { code: string; detail: string }
    assert.deepEqual({ code, detail }, { code: 'unauthenticated', detail: 'sign in first' })
  } finally {
    await close()
  }
})

test('a sign-in after the answer has begun fails before anything is written', async (t) => {
  t.mock.method(console, 'error', () => {})
  const events: SessionEvent[] = []
  const sessions = createSessions({ store: memoryStore(), onEvent: (event) => events.push(event) })
  const { promise, resolve } = Promise.withResolvers<unknown>()
  const { url, close } = await listen(
    sessionHandler(sessions, async (_, response, session) => {
      response.end('hello')
      await session.signIn('ada').catch(resolve)
    }),
  )
  try {
    await fetch(url, { method: 'POST', headers: sameOrigin })
    assert.equal(((await promise) as { reason: string }).reason, 'undeliverable')
    assert.deepEqual(events, [])
  } finally {
    await close()
  }
})

test('the device has the address of the peer', async () => {
  const sessions = createSessions({ store: memoryStore() })
  const { url, close } = await listen(
    sessionHandler(sessions, async (_, response, session) => {
      await session.signIn('ada')
      response.end(session.device!.address)
    }),
  )
  try {
    assert.equal(await (await fetch(url, { method: 'POST', headers: sameOrigin })).text(), '127.0.0.1')
  } finally {
    await close()
  }
})

test('cookies and Vary that the application set before signing in are kept', async () => {
  const sessions = createSessions({ store: memoryStore() })
  const { url, close } = await listen(
    sessionHandler(sessions, async (_, response, session) => {
      response.setHeader('set-cookie', 'theme=dark')
      response.setHeader('vary', 'Accept')
      await session.signIn('ada')
      response.end()
    }),
  )
  try {
    const reply = await fetch(url, { method: 'POST', headers: sameOrigin })
    assert.deepEqual(
      reply.headers.getSetCookie().map((line) => line.split('=')[0]),
      ['theme', '__Host-session'],
    )
    assert.equal(reply.headers.get('vary'), 'Accept, cookie')
  } finally {
    await close()
  }
})
