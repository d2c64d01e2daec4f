// The shop's pages: plain forms, no script; everything that is not written here is escaped.
import type { SessionInfo } from 'holdfast'

interface Home {
  readonly userId: string | null
  readonly cart: readonly string[]
  readonly devices: readonly SessionInfo[]
}

export function homePage({ userId, cart, devices }: Home): string {
  return page(html`
    <h1>${userId === null ? 'Hello, guest' : `Hello, ${userId}`}</h1>
    <h2>Cart</h2>
    <ul id="cart">
      ${cart.map((item) => html`<li>${item}</li>`)}
    </ul>
    <form method="post" action="/cart">
      <input name="item" required maxlength="40" aria-label="Item" /> <button>Add</button>
    </form>
    ${userId === null ? signInForm() : signedIn(devices)}
  `)
}

export function errorPage(message: string): string {
  return page(
    html`<h1>That did not work</h1>
      <p id="error">${message}</p>
      <p><a href="/">Back to the shop</a></p>`,
  )
}

function signInForm(): Html {
  return html` <h2>Sign in</h2>
    <form method="post" action="/sign-in">
      <input name="name" autocomplete="username" required aria-label="Name" />
      <input name="password" type="password" autocomplete="current-password" required aria-label="Password" />
      <button>Sign in</button>
    </form>`
}

function signedIn(devices: readonly SessionInfo[]): Html {
  return html` ${button('/order', 'Order')}
    <h2>Your devices</h2>
    <ul id="devices">
      ${devices.map(deviceLine)}
    </ul>
    ${button('/sign-out', 'Sign out')} ${button('/sign-out-everywhere', 'Sign out everywhere')}`
}

function deviceLine({ id, current, device, seenAt }: SessionInfo): Html {
  const when = new Date(seenAt).toISOString().slice(0, 16).replace('T', ' ')
  return html`<li>
    ${device.label}, ${device.address}, ${when} UTC
    ${current ? html`<b>this one</b>` : button('/sign-out-there', 'Sign out there', id)}
  </li>`
}

function button(action: string, label: string, id: string | null = null): Html {
  const hidden = id === null ? '' : html`<input type="hidden" name="id" value="${id}" />`
  return html`<form method="post" action="${action}">${hidden}<button>${label}</button></form>`
}

function page(content: Html): string {
  const style = new Html(
    '<style>body { font: 1rem/1.5 system-ui; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }</style>',
  )
  return html`<!doctype html>
    <html lang="en">
      <meta charset="utf-8" />
      <title>Shop</title>
      ${style}${content}
    </html>`.text
}

/** Text that is HTML already. */
class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

type Part = string | null | Html | readonly Html[]

/** HTML as written, with every value in it escaped. */
function html(written: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(String.raw({ raw: written }, ...values.map(textOf)))
}

function textOf(value: Part): string {
  if (value instanceof Html) return value.text
  if (typeof value === 'object' && value !== null) return value.map(textOf).join('')
  return (value ?? '').replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
