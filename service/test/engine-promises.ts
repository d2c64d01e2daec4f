// What the service promises on an engine that several replicas share.
import assert from 'node:assert/strict'
import type { Server } from '../../scripts/servers/server.ts'
import { adminSecret, serve, serviceOn, until } from './service.ts'

/** Two replicas share sessions, clients and endings. */
export async function assertShared(url: string): Promise<void> {
  const [one, two] = await Promise.all([serviceOn(url), serviceOn(url)])
  const as = await one.addClient('reader', 'verify')
  const { id, token } = await one.start({ userId: 'ada', data: { cart: [1] } })
  const verify = async () => (await two.call('POST', '/v1/sessions/verify', { as, body: { token } })).body
  assert.equal((await verify()).session.userId, 'ada')
  assert.equal((await two.call('GET', '/v1/users/ada/sessions')).body.sessions.length, 1)
  assert.equal((await one.call('DELETE', `/v1/sessions/${id}?settled=true`)).status, 204)
  assert.equal((await verify()).active, false)
  await Promise.all([one.stop(), two.stop()])
}

/** An outage is answered in time, and is over without a restart of the service. `restart` starts the engine again after a kill. */
export async function assertOutagePasses(engine: Server, restart: () => Promise<Server>): Promise<void> {
  const service = await serve({ HOLDFAST_ADMIN_SECRET: adminSecret, HOLDFAST_STORE: engine.url })
  const { token } = await service.start()
  const status = async () => (await service.call('POST', '/v1/sessions/verify', { body: { token } })).status
  const readiness = async () => (await service.call('GET', '/readyz')).status
  engine.pause()
  await until(async () => (await status()) === 503, 'what was verified before is no longer believed')
  assert.equal(await readiness(), 503)
  engine.resume()
  await until(async () => (await readiness()) === 200, 'ready again')
  assert.equal(await status(), 200)
  await engine.kill()
  await until(async () => (await readiness()) === 503, 'not ready')
  const again = await restart()
  await until(async () => (await readiness()) === 200, 'ready again')
  assert.equal(await status(), 200)
  again.pause()
  assert.equal(await service.end(), 0)
  again.resume()
  await again.stop()
  await engine.stop()
}
