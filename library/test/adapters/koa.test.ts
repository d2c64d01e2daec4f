import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSessions, type Session } from 'holdfast'
import { sessionMiddleware } from 'holdfast/adapters/koa'
import { memoryStore } from 'holdfast/stores/memory'
import { testAdapter } from 'holdfast/testing'
import Koa from 'koa'
import { listen, onKoa } from './servers.ts'

testAdapter('Koa', { test, serve: onKoa })

test('the cookie of a sign-in arrives although something else failed after it', async () => {
  const sessions = createSessions({ store: memoryStore() })
  const app = new Koa<{ session: Session<Readonly<Record<string, unknown>>> }>()
  app.silent = true
  app.use(sessionMiddleware(sessions))
  app.use(async (ctx) => {
    await ctx.state.session.signIn('ada')
    if (ctx.path === '/gone') ctx.throw(410, 'gone', { headers: { 'x-own': '1' } })
    throw new Error('the mail server is down')
  })
  const { url, close } = await listen(app.callback())
  try {
    for (const [path, expected] of [
      ['/', [500, null]],
      ['/gone', [410, '1']],
    ] as const) {
      const { status, headers } = await fetch(url + path, { method: 'POST' })
      assert.deepEqual([status, headers.get('x-own')], expected)
      assert.match(headers.getSetCookie().join(), /^__Host-session=[^,]+$/)
      assert.equal(headers.get('cache-control'), 'no-store')
    }
  } finally {
    await close()
  }
})
