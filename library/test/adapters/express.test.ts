import assert from 'node:assert/strict'
import { test } from 'node:test'
import express from 'express'
import { createSessions } from 'holdfast'
import { sessionMiddleware } from 'holdfast/adapters/express'
import { memoryStore } from 'holdfast/stores/memory'
import { testAdapter } from 'holdfast/testing'
import { listen, onExpress, sessionOf } from './servers.ts'

testAdapter('Express', { test, serve: onExpress })

test("the device has the address that Express's own proxy settings see", async () => {
  const app = express().set('trust proxy', 'loopback')
  app.use(sessionMiddleware(createSessions({ store: memoryStore() })))
  app.post('/', async (request, response) => {
    await sessionOf(request).signIn('ada')
    response.send(sessionOf(request).device!.address)
  })
  const { url, close } = await listen(app)
  try {
    const headers = { 'sec-fetch-site': 'same-origin', 'x-forwarded-for': '192.0.2.7' }
    assert.equal(await (await fetch(url, { method: 'POST', headers })).text(), '192.0.2.7')
  } finally {
    await close()
  }
})
