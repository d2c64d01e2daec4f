// What changes on the pages of the shop: the cart, what we recommend, and orders as they go their way.
const at = (id) => document.getElementById(id)

/** The answer to a call, as JSON; throws what is to be said when there is none. */
async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  }).catch(() => null)
  at('served-by').textContent = response?.headers.get('x-served-by') ?? 'nobody'
  if (response?.ok) return response.json()
  if (response?.status === 401) throw new Error('You are not signed in.')
  if (response?.status === 503 || response === null) {
    throw new Error('The shop can’t do that at the moment. Nothing is lost; try again soon.')
  }
  throw new Error('That did not work.')
}

let before = Promise.resolve()

/** Does it when what was attempted before is done, and says in the banner when it could not; whether it could. */
function attempt(action) {
  before = before.then(action).then(
    () => say(''),
    (error) => say(error.message),
  )
  return before
}

function say(problem) {
  at('banner').textContent = problem
  at('banner').hidden = problem === ''
  return problem === ''
}

function fill(list, texts) {
  list.replaceChildren(...texts.map((text) => Object.assign(document.createElement('li'), { textContent: text })))
}

const showCart = ({ items }) => fill(at('cart'), items)

if (at('cart') !== null) {
  const load = async () => {
    const shown = await attempt(async () => showCart(await call('GET', '/cart')))
    if (!shown) setTimeout(load, 1000)
  }
  void load()
  for (const button of document.querySelectorAll('[data-add]')) {
    const product = button.dataset.add
    button.addEventListener('click', () => attempt(async () => showCart(await call('POST', '/cart', { product }))))
  }
}

if (at('order') !== null) {
  const order = async () => {
    await call('POST', '/cart/order')
    location.assign('/orders')
  }
  at('order').addEventListener('click', () => attempt(order))
  const recommend = async () => {
    const { user, items } = await call('GET', '/recommendations')
    at('recommendations').textContent = `For ${user}: ${items.join(', ')}`
  }
  void recommend().catch(() => (at('recommendations').textContent = 'Nothing at the moment.'))
}

if (at('live') !== null) follow()

function follow() {
  const socket = new WebSocket(`ws://${location.host}/live`)
  socket.addEventListener('message', ({ data }) => {
    at('live').textContent = 'connected'
    at('orders').replaceChildren(...JSON.parse(data).map(orderRow))
  })
  socket.addEventListener('close', ({ code }) => {
    if (code === 4401) {
      at('live').textContent = `signed out (${code})`
      return at('orders').replaceChildren()
    }
    at('live').textContent = `connecting again (${code})`
    // 4409: the session has changed, and the socket with it can be had at once.
    setTimeout(follow, code === 4409 ? 0 : 500)
  })
}

function orderRow({ id, user, items = [], status }) {
  const row = document.createElement('tr')
  Object.assign(row.dataset, { id, status })
  for (const text of [user, items.join(', '), status]) row.insertCell().textContent = text
  if (at('orders').dataset.mayShip === 'true' && status !== 'shipped') {
    const [step, label] = status === 'placed' ? ['packed', 'Pack'] : ['shipped', 'Ship']
    const button = Object.assign(document.createElement('button'), { textContent: label })
    button.addEventListener('click', () => attempt(() => call('POST', `/orders/${id}/${step}`)))
    row.insertCell().append(button)
  }
  return row
}
