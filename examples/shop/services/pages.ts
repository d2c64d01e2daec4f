// The pages of the storefront. What changes on them is the work of public/shop.js.
import type { SessionInfo } from 'holdfast'
import { prices } from './catalogue.ts'
import { html, type Html } from './html.ts'

/** Who looks at the page, and what it is to say once. */
interface Visit {
  readonly user: string | null
  readonly flash: string | null
}

export function homePage(visit: Visit): string {
  const products = Object.entries(prices).map(
    ([name, cents]) =>
      html`<li>
        ${name} <span class="price">${(cents / 100).toFixed(2)}</span> <button data-add="${name}">Add</button>
      </li>`,
  )
  return page(
    visit,
    html`<h1>${visit.user === null ? 'Hello, guest' : `Hello, ${visit.user}`}</h1>
      <ul id="catalogue">
        ${products}
      </ul>
      <h2>Cart</h2>
      <ul id="cart"></ul>
      ${visit.user === null ? signInForm() : html`<button id="order">Order</button>`}
      <h2>You may like</h2>
      <p id="recommendations">${visit.user === null ? 'Sign in, and we have something for you.' : null}</p>`,
  )
}

export function ordersPage(visit: Visit, mayShip: boolean): string {
  return page(
    visit,
    html`<h1>${mayShip ? 'All orders' : 'Your orders'}</h1>
      <p>Live: <b id="live" role="status">connecting</b></p>
      <table>
        <tbody id="orders" data-may-ship="${String(mayShip)}"></tbody>
      </table>`,
  )
}

export function devicesPage(visit: Visit, devices: readonly SessionInfo[]): string {
  return page(
    visit,
    html`<h1>Your devices</h1>
      <ul id="devices">
        ${devices.map(deviceLine)}
      </ul>
      ${button('/sign-out-everywhere', 'Sign out everywhere')}`,
  )
}

/** `again`: it comes back by itself. */
export function errorPage(message: string, o: { again?: boolean; mayHelp?: Html } = {}): string {
  return page(
    { user: null, flash: null },
    html`${o.again === true ? html`<meta http-equiv="refresh" content="1" />` : null}
      <h1>That did not work</h1>
      <p id="error">${message}</p>
      ${o.mayHelp ?? null}`,
  )
}

export function signInForm(): Html {
  return html`<form method="post" action="/sign-in">
    <input name="name" autocomplete="username" required aria-label="Name" placeholder="Name" />
    <input
      name="password"
      type="password"
      autocomplete="current-password"
      required
      aria-label="Password"
      placeholder="Password"
    />
    <button>Sign in</button>
  </form>`
}

function deviceLine({ id, current, device, seenAt }: SessionInfo): Html {
  const when = new Date(seenAt).toISOString().slice(0, 16).replace('T', ' ')
  return html`<li>
    ${device.label}, ${device.address}, ${when} UTC
    ${current ? html`<b>this one</b>` : button('/sign-out-there', 'Sign out there', id)}
  </li>`
}

function button(action: string, label: string, id: string | null = null): Html {
  const hidden = id === null ? null : html`<input type="hidden" name="id" value="${id}" />`
  return html`<form method="post" action="${action}">${hidden}<button>${label}</button></form>`
}

function page({ user, flash }: Visit, content: Html): string {
  const own = html`<a href="/orders">Orders</a> <a href="/devices">Devices</a> ${button('/sign-out', 'Sign out')}`
  return html`<!doctype html>
    <html lang="en">
      <meta charset="utf-8" />
      <title>Shop</title>
      <link rel="icon" href="data:," />
      <link rel="stylesheet" href="/shop.css" />
      <script type="module" src="/shop.js"></script>
      <nav><a href="/">Shop</a> ${user === null ? null : own}</nav>
      <p id="banner" role="alert" hidden></p>
      ${flash === null ? null : html`<p id="flash">${flash}</p>`}
      <main>${content}</main>
      <footer>Answered by <span id="served-by">the storefront</span></footer>
    </html>`.text
}
