// A shop on Express: a guest's cart kept through sign-in, a list of devices, signing out here, there and everywhere.
import express, { type ErrorRequestHandler } from 'express'
import { createSessions, SessionError, type SessionOf, type Store } from 'holdfast'
import { sessionMiddleware } from 'holdfast/adapters/express'
import { memoryStore } from 'holdfast/stores/memory'
import { redisStore } from 'holdfast/stores/redis'
import { createClient } from 'redis'
import * as z from 'zod'
import { errorPage, homePage } from './page.ts'

const sessions = createSessions({
  store: await chosenStore(),
  lifetime: { idle: '30m', absolute: '12h' },
  data: { cart: z.array(z.string().min(1).max(40)).default([]) },
  roles: { shopper: ['orders:write'] },
})

declare global {
  namespace Express {
    interface Request {
      session: SessionOf<typeof sessions>
    }
  }
}

const app = express()
app.use((_req, res, next) => {
  res.set(
    'Content-Security-Policy',
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  )
  next()
})
app.use(express.urlencoded({ extended: false }), sessionMiddleware(sessions))

app.get('/', async (req, res) => {
  const { userId, id } = req.session
  const devices = userId === null ? [] : await sessions.list(userId, { current: id })
  res.send(homePage({ userId, cart: await req.session.read('cart'), devices }))
})

app.post('/cart', async (req, res) => {
  const item = field(req.body, 'item')
  await req.session.update('cart', (cart) => [...cart, item])
  res.redirect(303, '/')
})

app.post('/sign-in', async (req, res) => {
  const name = field(req.body, 'name')
  if (!passwordIsRight(name, field(req.body, 'password'))) {
    res.status(401).send(errorPage('The name or the password is wrong.'))
    return
  }
  await req.session.signIn(name, { roles: ['shopper'], amr: ['pwd'] })
  res.redirect(303, '/')
})

app.post('/order', async (req, res) => {
  req.session.require('orders:write')
  await req.session.update('cart', () => [])
  res.redirect(303, '/')
})

app.post('/sign-out', async (req, res) => {
  await req.session.end()
  res.redirect(303, '/')
})

app.post('/sign-out-there', async (req, res) => {
  // Whoever found an open browser may not lock the owner out for long: this asks for a recent sign-in.
  req.session.require({ within: '15m' })
  const id = field(req.body, 'id')
  const own = await sessions.list(req.session.userId!)
  // `end` ends anyone's session: whose it is, is ours to check.
  if (own.some((device) => device.id === id)) await sessions.end(id)
  res.redirect(303, '/')
})

app.post('/sign-out-everywhere', async (req, res) => {
  req.session.require({})
  await sessions.endUser(req.session.userId!)
  await req.session.end()
  res.redirect(303, '/')
})

const answerErrors: ErrorRequestHandler = (error: unknown, _req, res, next) => {
  if (!(error instanceof SessionError) || res.headersSent) return next(error)
  // From 500 on the message speaks of the store, to whoever reads the log.
  if (error.statusCode >= 500) console.error(error)
  const message = error.statusCode < 500 ? error.message : 'Please try again in a moment.'
  res.status(error.statusCode).set(error.headers).send(errorPage(message))
}
app.use(answerErrors)

const server = app.listen(Number(process.env['PORT'] ?? 3000), 'localhost', (error) => {
  if (error !== undefined) throw error
  const address = server.address()
  console.log(`http://localhost:${typeof address === 'object' ? address?.port : address}`)
  console.log('Sign in as ada or bob; the password is "tea".')
})

async function chosenStore(): Promise<Store> {
  const url = process.env['REDIS_URL']
  if (url === undefined) return memoryStore()
  const client = createClient({ url, disableOfflineQueue: true })
  client.on('error', (error: Error) => console.error(error.message))
  await client.connect()
  return redisStore(client)
}

/** In your application: the user's password hash, compared by a library made for it. */
function passwordIsRight(name: string, password: string): boolean {
  return ['ada', 'bob'].includes(name) && password === 'tea'
}

/** A form field may be missing, or be a list. */
function field(body: unknown, name: string): string {
  const value: unknown = Object(body)[name]
  return typeof value === 'string' ? value : ''
}
