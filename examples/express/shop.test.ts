// The shop in a real browser.
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'

const flags =
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'
let shop: ChildProcess
let address: string
let browser: Browser

before(async () => {
  shop = spawn(process.execPath, ['--conditions=source', '--disable-warning=ExperimentalWarning', 'server.ts'], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PORT: '0', REDIS_URL: undefined, NODE_ENV: 'test' },
  })
  const ended = once(shop, 'exit').then(([code]) => assert.fail(`the shop ended with ${String(code)}`))
  const [line] = (await Promise.race([once(createInterface(shop.stdout!), 'line'), ended])) as [string]
  ended.catch(() => {})
  address = line
  const executablePath = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium'
  browser = await chromium.launch({ executablePath, args: flags.split(' ') })
})
after(async () => {
  await browser?.close()
  shop.kill()
  if (shop.exitCode === null && shop.signalCode === null) await once(shop, 'exit')
})

/** A browser profile with one tab on the shop. */
async function visitor(): Promise<{ context: BrowserContext; page: Page }> {
  const context = await browser.newContext()
  return { context, page: await tab(context) }
}

async function tab(context: BrowserContext): Promise<Page> {
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  await page.goto(address)
  return page
}

async function signIn(page: Page, name: string, password = 'tea'): Promise<void> {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Password').fill(password)
  await click(page, 'Sign in')
}

async function add(page: Page, item: string): Promise<void> {
  await page.getByLabel('Item').fill(item)
  await click(page, 'Add')
}

/** Every button leads to another page: resolves when that is there. */
async function click(page: Page, name: string): Promise<void> {
  const there = page.waitForEvent('domcontentloaded')
  await Promise.all([there, page.getByRole('button', { name, exact: true }).first().click()])
}

const heading = (page: Page) => page.locator('h1').innerText()
const error = (page: Page) => page.locator('#error').innerText()
const cart = (page: Page) => page.locator('#cart li').allInnerTexts()

test("a guest's cart is kept through sign-in, and nothing is set before there is something to keep", async () => {
  const { context, page } = await visitor()
  assert.deepEqual(await context.cookies(), [])
  await add(page, 'green tea')
  await add(page, 'rye <b>bread</b> & "jam"')
  const [guest] = await context.cookies()
  await signIn(page, 'ada')
  assert.equal(await heading(page), 'Hello, ada')
  assert.deepEqual(await cart(page), ['green tea', 'rye <b>bread</b> & "jam"'])
  const [user] = await context.cookies()
  assert.notEqual(user!.value, guest!.value)
  await context.close()
})

test('the browser stores the cookie as promised, and shows scripts nothing of it', async () => {
  const { context, page } = await visitor()
  await signIn(page, 'ada')
  assert.equal(await heading(page), 'Hello, ada')
  const cookies = await context.cookies()
  assert.deepEqual(
    cookies.map((cookie) => ({ ...cookie, value: '' })),
    [
      {
        value: '',
        name: '__Host-session',
        domain: 'localhost',
        path: '/',
        expires: -1,
        httpOnly: true,
        secure: true,
        sameSite: 'Lax',
      },
    ],
  )
  assert.equal(await page.evaluate('document.cookie'), '')
  await context.close()
})

test('a wrong password signs nobody in', async () => {
  const { context, page } = await visitor()
  await signIn(page, 'ada', 'coffee')
  assert.equal(await error(page), 'The name or the password is wrong.')
  assert.deepEqual(await context.cookies(), [])
  await context.close()
})

test('what was signed out in one tab is refused in the other', async () => {
  const { context, page } = await visitor()
  await signIn(page, 'ada')
  const other = await tab(context)
  assert.equal(await heading(other), 'Hello, ada')
  const captured = await context.cookies()
  await click(page, 'Sign out')
  assert.equal(await heading(page), 'Hello, guest')
  await click(other, 'Order')
  assert.equal(await error(other), 'sign in first')
  assert.deepEqual(await context.cookies(), [])
  await context.addCookies(captured)
  await page.goto(address)
  assert.equal(await heading(page), 'Hello, guest', 'a captured cookie')
  await context.close()
})

test('"sign out there" ends the other browser and not this one', async () => {
  const [here, there] = [await visitor(), await visitor()]
  await signIn(there.page, 'bob')
  await signIn(here.page, 'bob')
  assert.equal(await heading(here.page), 'Hello, bob')
  const devices = await here.page.locator('#devices li').allInnerTexts()
  assert.equal(devices.length, 2)
  for (const device of devices) assert.match(device, /^(?:Headless)?Chrome \d+ on Linux, /)
  await click(here.page, 'Sign out there')
  assert.equal(await here.page.locator('#devices li').count(), 1)
  assert.equal(await heading(here.page), 'Hello, bob')
  await there.page.reload()
  assert.equal(await heading(there.page), 'Hello, guest')
  await here.context.close()
  await there.context.close()
})

test('nobody ends the session of somebody else', async () => {
  const [ada, bob] = [await visitor(), await visitor()]
  await signIn(ada.page, 'ada')
  await signIn(bob.page, 'bob')
  const [cookie] = await ada.context.cookies()
  const id = cookie!.value.split('.')[0]!
  const reply = await bob.page.request.post(`${address}/sign-out-there`, { form: { id }, headers: { origin: address } })
  assert.equal(reply.status(), 200)
  await ada.page.reload()
  assert.equal(await heading(ada.page), 'Hello, ada')
  await ada.context.close()
  await bob.context.close()
})

test('"sign out everywhere" ends all of them', async () => {
  const [here, there] = [await visitor(), await visitor()]
  await signIn(there.page, 'bob')
  await signIn(here.page, 'bob')
  await click(here.page, 'Sign out everywhere')
  assert.equal(await heading(here.page), 'Hello, guest')
  await there.page.reload()
  assert.equal(await heading(there.page), 'Hello, guest')
  await here.context.close()
  await there.context.close()
})

test('a form on another site, or on another port of this one, changes nothing', async (t) => {
  const { context, page } = await visitor()
  await signIn(page, 'ada')
  const foreign = createServer((_, response) => {
    response
      .setHeader('content-type', 'text/html')
      .end(`<form method="post" action="${address}/sign-out"><button>Win a prize</button></form>`)
  })
  const port = await listening(foreign)
  t.after(() => {
    foreign.close()
    foreign.closeAllConnections()
  })
  for (const origin of [`http://127.0.0.1:${port}`, `http://localhost:${port}`]) {
    const trap = await context.newPage()
    await trap.goto(origin)
    const answer = trap.waitForResponse(`${address}/sign-out`)
    await click(trap, 'Win a prize')
    assert.equal((await answer).status(), 403, origin)
    assert.match(await error(trap), /^refused: a (cross|same)-site request/)
    await page.reload()
    assert.equal(await heading(page), 'Hello, ada')
  }
  await context.close()
})

test('an item without a name is refused', async () => {
  const { context, page } = await visitor()
  const reply = await page.request.post(`${address}/cart`, { form: { item: '' }, headers: { origin: address } })
  assert.equal(reply.status(), 422)
  await context.close()
})

async function listening(server: Server): Promise<number> {
  server.listen(0)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}
