// HAProxy keeps every promise of the proxies.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { it } from 'node:test'
import { testProxy } from './behaviour.ts'
import { haproxy, host, startSite } from './site.ts'

testProxy(haproxy)

it('no other process of the machine asks by the address of HAProxy’s script', async () => {
  const site = await startSite()
  try {
    const { port } = await site.front(haproxy)
    // An abstract address is as long as there is room.
    const socketPath = `\0holdfast-forward-auth-${port}`.padEnd(108, '\0')
    const described = { 'x-forwarded-method': 'GET', 'x-forwarded-host': host, 'x-forwarded-uri': '/public/x' }
    for (const path of ['/forward-auth', '/metrics', '/healthz', '/v1/sessions']) {
      for (const secret of [undefined, '', '0'.repeat(64)]) {
        const headers = secret === undefined ? described : { ...described, 'x-forward-auth-secret': secret }
        const [answer] = await once(request({ socketPath, path, headers }).end(), 'response')
        answer.resume()
        assert.equal(answer.statusCode, 403, path)
      }
    }
  } finally {
    await site.stop()
  }
})
