// The whole shop in a real browser: two replicas of everything, which are killed, as is Redis.
import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { after, afterEach, before, test, type TestContext } from 'node:test'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'
import { startShop, type Shop } from '../start.ts'

const flags =
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'
const patienceMs = 60_000
const said: string[] = []
const events = new EventEmitter()
let mayReturn = Promise.withResolvers<void>()
let shop: Shop
let browser: Browser
let ada: Page
let cleo: Page

before(async () => {
  const log = (line: string) => {
    said.push(line)
    events.emit('said', line)
  }
  const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium'
  const starting = startShop({ log, beforeRestart: () => mayReturn.promise })
  browser = await chromium.launch({ executablePath, args: flags.split(' ') })
  shop = await starting.catch((error: unknown) => {
    console.error(said.join('\n'))
    throw error
  })
})
after(async () => {
  await browser?.close()
  await shop?.stop()
})

// What the services said, for whoever wants to know why it failed.
afterEach((t) => {
  if (Reflect.get(t, 'passed') === false) console.error(said.splice(0).join('\n'))
})

async function visitor(): Promise<Page> {
  const context = await browser.newContext()
  context.setDefaultTimeout(patienceMs)
  const page = await context.newPage()
  await page.goto(shop.url)
  return page
}

async function signedIn(name: string): Promise<Page> {
  const page = await visitor()
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill('tea')
  await click(page, 'Sign in')
  await shows(page, 'h1', `Hello, ${name}`)
  return page
}

const click = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).first().click()
const shows = (page: Page, where: string, text: string | RegExp) =>
  page.locator(where, { hasText: text }).first().waitFor()
const cart = (page: Page) => page.locator('#cart li').allInnerTexts()
const credentials = async (context: BrowserContext) => (await context.cookies()).map(({ value }) => value)

const isPost = (request: { method(): string }) => request.method() === 'POST'

/** Puts a product into the cart and sees it there; who of the replicas answered. */
async function add(page: Page, product: string): Promise<string> {
  const answer = page.waitForResponse((response) => response.url() === `${shop.url}/cart` && isPost(response.request()))
  await page.locator(`[data-add="${product}"]`).click()
  const response = await answer
  assert.equal(response.status(), 200)
  await shows(page, '#cart', product)
  return (await response.headerValue('x-served-by'))!
}

/** As somebody does who was told to try again soon. */
async function orderAtLast(page: Page): Promise<void> {
  const answer = page.waitForResponse(`${shop.url}/cart/order`)
  await click(page, 'Order')
  const status = (await answer).status()
  if (status === 503) return orderAtLast(page)
  assert.equal(status, 201)
}

/** kill -9, of all of them at once. They stay away until `back()`, or the end of the test. */
async function kill(t: TestContext, ...names: readonly string[]): Promise<void> {
  mayReturn = Promise.withResolvers()
  t.after(() => mayReturn.resolve())
  const gone = names.map((name) => hears(`${name} (`))
  for (const name of names) process.kill(shop.programs.get(name)!.pid, 'SIGKILL')
  await Promise.all(gone)
}

async function back(...names: readonly string[]): Promise<void> {
  const all = names.map((name) => hears(`${name} is back`))
  mayReturn.resolve()
  await Promise.all(all)
}

function hears(beginning: string): Promise<void> {
  return new Promise((resolve) => {
    events.on('said', function listen(line: string) {
      if (!line.startsWith(beginning)) return
      events.off('said', listen)
      resolve()
    })
  })
}

test('a cart is filled through two replicas, and kept through sign-in', async () => {
  ada = await visitor()
  await add(ada, 'Plum jam')
  await ada.getByLabel('Name').fill('ada')
  await ada.getByLabel('Password').fill('tea')
  await click(ada, 'Sign in')
  await shows(ada, 'h1', 'Hello, ada')
  await shows(ada, '#flash', 'Welcome, ada.')
  await shows(ada, '#cart', 'Plum jam')
  const replicas = [await add(ada, 'Green tea'), await add(ada, 'Teapot')]
  assert.deepEqual(replicas.sort(), ['cart-1', 'cart-2'])
  assert.deepEqual(await cart(ada), ['Plum jam', 'Green tea', 'Teapot'])
  await ada.reload()
  assert.equal(await ada.locator('#flash').count(), 0, 'it is said once')
})

test('the service in Python knows who asks, by an assertion that it checks itself', async () => {
  await shows(ada, '#recommendations', /^For ada: /)
  const forged = { 'x-holdfast-user': 'ada', 'txn-token': 'e30.e30.e30' }
  const anonymous = await (await visitor()).request.get(`${shop.url}/recommendations`, { headers: forged })
  assert.equal(anonymous.status(), 401, 'what a client says of itself is not passed on')
  const { port } = shop.programs.get('recommendations-1')!
  const direct = await fetch(`http://127.0.0.1:${port}/recommendations`, { headers: forged })
  assert.equal(direct.status, 401, 'who comes by another way than the proxy')
})

test('an order is on its page as soon as it goes a step on', async () => {
  await click(ada, 'Order')
  await shows(ada, '#live', 'connected')
  await shows(ada, 'tr[data-status=placed]', 'Plum jam, Green tea, Teapot')
  cleo = await signedIn('cleo')
  await cleo.goto(`${shop.url}/orders`)
  await shows(cleo, 'tr', 'ada')
  await click(cleo, 'Pack')
  await shows(ada, 'tr[data-status=packed]', 'Plum jam, Green tea, Teapot')
})

test('a shopper is no clerk, whatever page she has', async () => {
  const [id] = await ada.locator('tr').evaluateAll((rows) => rows.map((row) => row.getAttribute('data-id')))
  const answer = await ada.request.post(`${shop.url}/orders/${id}/shipped`, { headers: { origin: shop.url } })
  assert.equal(answer.status(), 403)
  await shows(ada, 'tr', 'packed')
})

test('a cart that is ordered from two tabs at once is one order', async () => {
  const { request } = ada.context()
  const headers = { origin: shop.url }
  await request.post(`${shop.url}/cart`, { headers, data: { product: 'Oat biscuits' } })
  const answers = await Promise.all([1, 2].map(() => request.post(`${shop.url}/cart/order`, { headers })))
  for (const answer of answers) assert.ok([201, 409].includes(answer.status()), `${answer.status()}`)
  await shows(ada, 'tr', 'Oat biscuits')
  assert.equal(await ada.locator('tr').count(), 2)
})

test('a replica of everything is killed, and nobody notices', async (t) => {
  const killed = ['storefront-1', 'cart-1', 'orders-1', 'live-1', 'recommendations-1', 'holdfast-1']
  const page = await ada.context().newPage()
  await page.goto(shop.url)
  await kill(t, ...killed)
  await page.reload()
  await shows(page, 'h1', 'Hello, ada')
  await shows(page, '#recommendations', /^For ada: /)
  assert.equal(await add(page, 'Rye bread'), 'cart-2')
  await click(page, 'Order')
  await shows(page, 'tr', 'Rye bread')
  await shows(ada, 'tr', 'Rye bread')
  await cleo.locator('tr', { hasText: 'Rye bread' }).getByRole('button', { name: 'Pack' }).click()
  await shows(ada, 'tr[data-status=packed]', 'Rye bread')
  await back(...killed)
})

test('without Redis the shop says so, lets nobody in and signs nobody out', async (t) => {
  const page = await ada.context().newPage()
  await page.goto(shop.url)
  await add(page, 'Oat biscuits')
  await shows(page, '#cart', 'Oat biscuits')
  const before = await credentials(ada.context())
  await kill(t, 'redis')

  await page.locator('[data-add="Teapot"]').click()
  await shows(page, '#banner', 'at the moment')
  assert.deepEqual(await cart(page), ['Oat biscuits'])
  const answer = await page.reload()
  assert.equal(answer!.status(), 503)
  assert.equal(await answer!.headerValue('retry-after'), '1')
  await shows(page, '#error', 'You are still signed in')

  const guest = await visitor()
  await shows(guest, 'h1', 'Hello, guest')
  assert.equal(await guest.locator('#catalogue li').count(), 5)

  await back('redis')
  // The page asks again by itself.
  await shows(page, 'h1', 'Hello, ada')
  await shows(page, '#cart', 'Oat biscuits')
  assert.deepEqual(await cart(page), ['Oat biscuits'])
  assert.deepEqual(await credentials(ada.context()), before)
  await shows(ada, '#live', 'connected')
  await orderAtLast(page)
  await ada.locator('tr', { hasText: 'Oat biscuits' }).nth(1).waitFor()
})

test('"sign out everywhere" closes the socket of the other browser', async () => {
  const there = await signedIn('ada')
  await there.goto(`${shop.url}/orders`)
  await shows(there, '#live', 'connected')
  await ada.goto(`${shop.url}/devices`)
  assert.equal(await ada.locator('#devices li').count(), 2)
  await click(ada, 'Sign out everywhere')
  await shows(ada, 'h1', 'Hello, guest')
  await shows(there, '#live', 'signed out (4401)')
  assert.equal(await there.locator('tr').count(), 0)
  await there.goto(shop.url)
  await shows(there, 'h1', 'Hello, guest')
  // Nobody else is; it may still be on its way back from the outage.
  await shows(cleo, '#live', 'connected')
})
