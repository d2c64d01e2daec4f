// The cart: a JSON API on Express. It owns the section `cart` of the session, and places orders on the user's behalf.
import { randomUUID } from 'node:crypto'
import express, { type ErrorRequestHandler } from 'express'
import { createSessions, opaqueCredentials, type SessionOf } from 'holdfast'
import { requires, sessionMiddleware } from 'holdfast/adapters/express'
import { assertionCredentials } from 'holdfast/credentials/assertion'
import * as z from 'zod'
import { products, type Product } from './catalogue.ts'
import { ordersAt } from './orders-client.ts'
import { chain, env, port, shared } from './system.ts'

interface Cart {
  /** Becomes that of the order. */
  id: string
  items: Product[]
}
const cartWith = (items: Product[]): Cart => ({ id: randomUUID(), items })

const sessions = createSessions({
  ...shared,
  credentials: [opaqueCredentials(), assertionCredentials({ ...chain, service: 'cart' })],
  data: {
    cart: z.object({ id: z.uuid(), items: z.array(z.enum(products)).max(50) }).default(() => cartWith([])),
  },
})
const orders = ordersAt(env('ORDERS'))

declare global {
  namespace Express {
    interface Request {
      session: SessionOf<typeof sessions>
    }
  }
}

const app = express().disable('x-powered-by').set('trust proxy', 'loopback')
app.use(express.json(), sessionMiddleware(sessions))

app.get('/cart', async (req, res) => {
  res.json(await req.session.read('cart'))
})

app.post('/cart', async (req, res) => {
  const product: Product = req.body?.product // the schema of the section looks at it
  res.json(await req.session.update('cart', (cart) => ({ ...cart, items: [...cart.items, product] })))
})

app.delete('/cart', async (req, res) => {
  res.json(await req.session.update('cart', () => cartWith([])))
})

app.post('/cart/order', requires('orders:write'), async (req, res) => {
  const { id, items } = await req.session.read('cart')
  if (items.length === 0) return void res.status(409).json({ code: 'empty' })
  // An order has the id of its cart, so one that is sent twice is placed once.
  const order = await orders.place({ id, items }, () =>
    sessions.assertionFor(req.session, 'orders', { scope: ['orders:write'] }),
  )
  // What another tab has put in meanwhile stays.
  await req.session.update('cart', (cart) => (cart.id === id ? cartWith(cart.items.slice(order.items.length)) : cart))
  res.status(201).json(order)
})

const answerErrors: ErrorRequestHandler = (error, _req, res, next) => {
  if (res.headersSent) return next(error)
  const { statusCode = 500, headers = {}, code = 'failed' } = error
  if (statusCode >= 500) console.error(`${statusCode} ${error.message}`)
  res.status(statusCode).set(headers).json({ code })
}
app.use(answerErrors)

app.listen(port, '127.0.0.1')
