// The storefront: pages on Fastify, the sign-in of the whole shop, and the list of devices. It owns the section `flash` of the session.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fastify, { type FastifyError, type FastifyReply } from 'fastify'
import { createSessions, opaqueCredentials, type SessionOf } from 'holdfast'
import { requires, sessionPlugin } from 'holdfast/adapters/fastify'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import * as z from 'zod'
import { ordersAt } from './orders-client.ts'
import { devicesPage, errorPage, homePage, ordersPage, signInForm } from './pages.ts'
import { chain, env, port, shared } from './system.ts'

const sessions = createSessions({
  ...shared,
  credentials: [opaqueCredentials(), assertionCredentials({ ...chain, service: 'storefront' })],
  data: { flash: z.string().nullable().default(null) },
})
type Session = SessionOf<typeof sessions>

declare module 'fastify' {
  interface FastifyRequest {
    session: Session
  }
}

const orders = ordersAt(env('ORDERS'))
/** In your application: a table of users, with hashes of their passwords by a library made for it. */
const users: Readonly<Record<string, readonly string[]>> = { ada: ['shopper'], bob: ['shopper'], cleo: ['clerk'] }
const passwordIsRight = (name: string, password: string) => Object.hasOwn(users, name) && password === 'tea'

const app = fastify({ trustProxy: 'loopback' })
// Nothing but forms, so that a field is text or missing.
app.removeAllContentTypeParsers()
const forms = 'application/x-www-form-urlencoded'
app.addContentTypeParser(forms, { parseAs: 'string' }, async (_request: unknown, body: string | Buffer) =>
  Object.fromEntries(new URLSearchParams(String(body))),
)
app.addHook('onRequest', async (_request, reply) => {
  reply.header(
    'Content-Security-Policy',
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  )
})

app.setErrorHandler((error: FastifyError & { headers?: Record<string, string> }, request, reply) => {
  const { statusCode = 500, headers = {}, message } = error
  if (statusCode >= 500) console.error(`${statusCode} ${message}`)
  reply.code(statusCode).headers(headers)
  if (statusCode === 503) {
    const again = request.method === 'GET'
    return show(
      reply,
      errorPage("We can't tell who you are at the moment. You are still signed in; nothing is lost.", { again }),
    )
  }
  if (statusCode === 401) return show(reply, errorPage('Sign in first.', { mayHelp: signInForm() }))
  return show(reply, errorPage(statusCode < 500 ? message : 'Please try again in a moment.'))
})

// Without a session: these are served whatever happens.
for (const [file, type] of [
  ['shop.js', 'text/javascript'],
  ['shop.css', 'text/css'],
] as const) {
  const content = await readFile(join(import.meta.dirname, '../public', file), 'utf8')
  app.get(`/${file}`, (_request, reply) => reply.type(type).send(content))
}

await app.register(async (app) => {
  await app.register(sessionPlugin(sessions))

  app.get('/', async ({ session }, reply) => show(reply, homePage(await visit(session))))

  app.post<{ Body: { name?: string; password?: string } | undefined }>('/sign-in', async ({ session, body }, reply) => {
    const { name = '', password = '' } = body ?? {}
    if (!passwordIsRight(name, password)) {
      return show(reply.code(401), errorPage('The name or the password is wrong.', { mayHelp: signInForm() }))
    }
    await session.signIn(name, { roles: users[name], amr: ['pwd'] })
    await session.update('flash', () => `Welcome, ${name}.`)
    return reply.redirect('/', 303)
  })

  app.post('/sign-out', async ({ session }, reply) => {
    await session.end()
    return reply.redirect('/', 303)
  })

  app.get('/orders', { preHandler: requires('orders:read') }, async ({ session }, reply) =>
    show(reply, ordersPage(await visit(session), session.can('orders:ship'))),
  )

  app.post<{ Params: { id: string; status: string } }>('/orders/:id/:status', async ({ session, params }) =>
    orders.mark(params, () => sessions.assertionFor(session, 'orders', { scope: ['orders:ship'] })),
  )

  app.get('/devices', { preHandler: requires({}) }, async ({ session }, reply) => {
    const devices = await sessions.list(session.userId!, { current: session.id })
    return show(reply, devicesPage(await visit(session), devices))
  })

  // Whoever found an open browser may not lock the owner out: this asks for a recent sign-in.
  const recent = { preHandler: requires({ within: '15m' }) }

  app.post<{ Body: { id?: string } | undefined }>('/sign-out-there', recent, async ({ session, body }, reply) => {
    const own = await sessions.list(session.userId!)
    // `end` ends anyone's session: whose it is, is ours to check.
    const there = own.find(({ id }) => id === body?.id)
    if (there !== undefined) await sessions.end(there.id)
    return reply.redirect('/devices', 303)
  })

  app.post('/sign-out-everywhere', recent, async ({ session }, reply) => {
    await sessions.endUser(session.userId!)
    await session.end()
    return reply.redirect('/', 303)
  })
})

await app.listen({ port, host: '127.0.0.1' })

async function visit(session: Session): Promise<{ user: string | null; flash: string | null }> {
  const flash = await session.read('flash')
  if (flash !== null) await session.update('flash', () => null)
  return { user: session.userId, flash }
}

function show(reply: FastifyReply, page: string): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page)
}
