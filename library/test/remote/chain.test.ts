// A chain of calls behind the service: what is asked for it, what it wants, and what an outage does to it.
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { after, afterEach, before, test } from 'node:test'
import { connectSessions, headerTransport, ServiceError, type ConnectOptions } from 'holdfast'
import { startRedis } from '../../../scripts/servers/redis.ts'
import type { Server } from '../../../scripts/servers/server.ts'
import { addClient, startService } from './service.ts'

const roles = { clerk: ['orders:*'] }
let redis: Server
let service: Server
let clients: Record<'shop' | 'stock' | 'mail', ReturnType<typeof addClient>>
const opened: (() => void)[] = []

before(async () => {
  redis = await startRedis()
  service = await startService({ store: redis.url, env: { HOLDFAST_ISSUER: 'https://accounts.example' } })
  clients = {
    shop: addClient(redis.url, 'shop', 'start,verify,feed,end,read,assert:stock'),
    stock: addClient(redis.url, 'stock', 'verify,feed,read,assert:mail'),
    mail: addClient(redis.url, 'mail', 'verify,feed'),
  }
})
after(async () => {
  await service.stop()
  await redis.stop()
})
afterEach(() => opened.splice(0).forEach((close) => close()))

async function connect(name: keyof typeof clients, o: Partial<ConnectOptions<never>> = {}) {
  const calls: string[] = []
  const through: typeof fetch = (input, init) => {
    const { pathname } = new URL(String(input))
    if (pathname.startsWith('/v1/') && pathname !== '/v1/feed')
      calls.push(`${pathname} ${Object.keys(JSON.parse((init?.body as string | null) ?? '{}') as object).join()}`)
    return fetch(input, init)
  }
  const transport = headerTransport('Txn-Token')
  const sessions = connectSessions({ url: service.url, ...clients[name], transport, roles, fetch: through, ...o })
  opened.push(() => sessions.close())
  while (!sessions.status()!.fresh) await sleep(5)
  return { sessions, calls }
}

test('three services, each with no more than its own permissions', async () => {
  const [shop, stock, mail] = [await connect('shop'), await connect('stock'), await connect('mail')]
  const { token } = await shop.sessions.start('ada', { roles: ['clerk'] })
  const session = await shop.sessions.open(token)
  const toStock = await shop.sessions.assertionFor(session, 'stock', { scope: ['orders:read'] })
  const atStock = await stock.sessions.open(toStock)
  const toMail = await stock.sessions.assertionFor(atStock, 'mail')
  const atMail = await mail.sessions.open(toMail)
  assert.deepEqual(atMail.via?.callers, ['shop', 'stock'])
  assert.deepEqual([atMail.userId, atMail.can('orders:read'), atMail.can('orders:write')], ['ada', true, false])
  assert.deepEqual(shop.calls.slice(-1), ['/v1/assertions token,audience,scope'])
  assert.deepEqual(stock.calls, ['/v1/sessions/verify assertion', '/v1/assertions assertion,audience,scope'])
  assert.equal((await mail.sessions.open(toStock)).refused, 'audience')

  await assert.rejects(shop.sessions.assertionFor(session, 'mail'), (error: ServiceError) => {
    assert.deepEqual([error.problem.code, error.problem.status], ['missing-permission', 403])
    return /assert:mail/.test(error.message)
  })
  await assert.rejects(mail.sessions.assertionFor(atMail, 'stock'), ServiceError)
  // What was found by its id was presented by nobody: stock may not begin sessions, so it may not act for it.
  const found = await stock.sessions.get(session.id!)
  await assert.rejects(stock.sessions.assertionFor(found!, 'mail'), /permission start/)

  const over = new Promise((resolve) => mail.sessions.watch(atMail, resolve))
  await shop.sessions.end(session.id!, { settled: true })
  assert.equal(await over, 'ended')
  assert.equal((await stock.sessions.open(toStock)).refused, 'ended')
  assert.equal((await mail.sessions.open(toMail)).refused, 'ended')
})

test('what opened a session shows in nothing that an application holds', async () => {
  const { sessions } = await connect('shop')
  const { token } = await sessions.start('ada')
  const session = await sessions.open(token)
  for (const shown of [inspect(session, { depth: 9, showHidden: true, getters: true }), JSON.stringify(session)])
    assert.ok(!shown.includes(token.slice(23)))
})

test('an assertion is asked for once, then cached; after its life was watched nobody is asked', async () => {
  let ahead = 0
  const shop = await connect('shop')
  const stock = await connect('stock', { elapsed: () => performance.now() + ahead })
  const { session } = await shop.sessions.start('ada')
  const first = await shop.sessions.assertionFor(session, 'stock')
  for (let i = 0; i < 3; i++) assert.equal((await stock.sessions.open(first)).userId, 'ada')
  assert.deepEqual(stock.calls, ['/v1/sessions/verify assertion'])
  ahead = 7 * 60_000
  while (!stock.sessions.status()!.fresh) await sleep(5)
  const second = await shop.sessions.assertionFor(session, 'stock', { scope: [] })
  assert.deepEqual((await stock.sessions.open(second)).via?.scope, [])
  assert.equal(stock.calls.length, 1)
})

test('while the service is down none is made; what was made is trusted only where that was said', async () => {
  const own = await startService({ store: redis.url, env: { HOLDFAST_ISSUER: 'https://accounts.example' } })
  const { url } = own
  const shop = await connect('shop', { url })
  const careful = await connect('stock', { url })
  const trusting = await connect('stock', { url, whenServiceIsDown: 'trust-signed' })
  const { session } = await shop.sessions.start('ada', { roles: ['clerk'] })
  const make = () => shop.sessions.assertionFor(session, 'stock', { scope: ['orders:read'] })
  const [known, next] = [await make(), await make()]
  // The keys are known from then on.
  for (const { sessions } of [careful, trusting]) assert.equal((await sessions.open(known)).userId, 'ada')
  await own.stop()
  await assert.rejects(make(), { code: 'store-unavailable' })
  await assert.rejects(careful.sessions.open(next), { code: 'store-unavailable' })
  const atStock = await trusting.sessions.open(next)
  assert.deepEqual([atStock.can('orders:read'), atStock.can('orders:write')], [true, false])
  await assert.rejects(trusting.sessions.assertionFor(atStock, 'mail'), { code: 'store-unavailable' })
})
