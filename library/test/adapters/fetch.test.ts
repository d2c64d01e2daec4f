import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { createSessions } from 'holdfast'
import { withSession } from 'holdfast/adapters/fetch'
import { memoryStore } from 'holdfast/stores/memory'
import { testAdapter } from 'holdfast/testing'
import { onFetch } from './servers.ts'

testAdapter('fetch', { test, serve: onFetch })

const sessions = createSessions({ store: memoryStore() })
const url = 'https://shop.example/'

test('where the runtime keeps Host out of the headers, the origin is compared with the URL', async () => {
  const signIn = withSession(sessions, async (_, session) => {
    await session.signIn('ada')
    return new Response()
  })
  const from = (origin: string) => signIn(new Request(url, { method: 'POST', headers: { origin } }))
  assert.equal((await from('https://shop.example')).status, 200)
  assert.equal((await from('https://evil.example')).status, 403)
})

test('the device has the address that the runtime tells', async () => {
  const handler = withSession(
    sessions,
    async (_, session) => {
      await session.signIn('ada')
      return new Response(session.device!.address)
    },
    { address: (request) => request.headers.get('x-peer') },
  )
  const headers = { 'sec-fetch-site': 'same-origin', 'x-peer': '192.0.2.7' }
  assert.equal(await (await handler(new Request(url, { method: 'POST', headers }))).text(), '192.0.2.7')
})

test('an error that is none of ours is thrown on as it is', async () => {
  const mine = new RangeError('mine')
  const handler = withSession(sessions, () => {
    throw mine
  })
  await assert.rejects(handler(new Request(url)), (error) => error === mine)
})

test('an answer that the application keeps for everybody gets nobody’s cookie', async () => {
  const done = new Response(null, { status: 204, headers: { vary: 'Accept' } })
  const handler = withSession(sessions, async (request, session) => {
    if (request.method === 'POST') await session.signIn('ada')
    return done
  })
  const signedIn = await handler(new Request(url, { method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } }))
  const [cookie] = signedIn.headers.getSetCookie()
  assert.match(cookie ?? '', /^__Host-session=/)
  for (const headers of [{ cookie: cookie!.split(';')[0]! }, { cookie: cookie!.split(';')[0]! }, {}]) {
    const answer = await handler(new Request(url, { headers: headers as Record<string, string> }))
    assert.deepEqual(answer.headers.getSetCookie(), [])
    assert.equal(answer.headers.get('vary'), 'Accept, cookie')
  }
})

test('an answer whose headers can not be changed, such as that of a fetch, is copied', async () => {
  const { token } = await sessions.start('ada')
  const request = new Request(url, { headers: { cookie: `__Host-session=${token}` } })
  const redirect = await withSession(sessions, () => Response.redirect('https://shop.example/cart', 303))(request)
  assert.equal(redirect.status, 303)
  assert.equal(redirect.headers.get('location'), 'https://shop.example/cart')
  assert.equal(redirect.headers.get('cache-control'), 'no-store')
  assert.equal(redirect.headers.get('vary'), 'cookie')
})

test('an answer without a session is the very one of the application', async () => {
  const response = new Response('hello')
  assert.equal(await withSession(sessions, () => response)(new Request(url)), response)
})

test('the cookie of a sign-in arrives with a redirect or a not-found of Next.js', async () => {
  // Next.js builds its own for each bundler; these are the ones that its route handlers see.
  const { redirect, permanentRedirect, notFound } = createRequire(import.meta.url)('next/navigation') as Record<
    'redirect' | 'permanentRedirect' | 'notFound',
    (url?: string) => never
  >
  const thrown = async (answer: () => never) => {
    const handler = withSession(sessions, async (_, session) => {
      await session.signIn('ada')
      return answer()
    })
    const { status, headers } = await handler(
      new Request(url, { method: 'POST', headers: { 'sec-fetch-site': 'same-origin' } }),
    )
    assert.equal(headers.getSetCookie().length, 1)
    return [status, headers.get('location')]
  }
  assert.deepEqual(await thrown(() => redirect('/home?a;b')), [307, '/home?a;b'])
  assert.deepEqual(await thrown(() => permanentRedirect('/home')), [308, '/home'])
  assert.deepEqual(await thrown(() => notFound()), [404, null])
  const plain = withSession(sessions, () => redirect('/home'))
  await assert.rejects(plain(new Request(url)), /NEXT_REDIRECT/)
})
