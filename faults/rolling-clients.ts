// Users' devices: browsers of the application, and callers of the session service. Both see an answer or an error, no retries.
import type { Seen } from './rolling-history.ts'

export interface Device {
  /** The instance that the balancer sends it to; `null` when nothing says so. */
  readonly to: string | null
  add(item: string): Promise<Seen>
  look(): Promise<Seen>
  endEverywhere(): Promise<Seen>
  /** At one instance, past the balancer, as for another service that shares the session. */
  lookAt(instanceUrl: string): Promise<Seen>
  /** The same, without a look at any data. */
  acceptedBy(instanceUrl: string): Promise<boolean>
}

export interface Frontend {
  signIn(user: string): Promise<{ device: Device; seen: Seen }>
}

const nobody: Seen = { userId: null, cart: null, by: null }
const patienceMs = 20_000

interface Called {
  readonly status: number
  readonly headers: Headers
  readonly json: unknown
}

/** Rejects for what is no answer of the application: a broken connection, and 5xx. */
async function call(
  url: string,
  method: string,
  headers: Readonly<Record<string, string>>,
  body?: unknown,
): Promise<Called> {
  const response = await fetch(url, {
    method,
    headers: { ...headers, 'content-type': 'application/json' },
    signal: AbortSignal.timeout(patienceMs),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch((error: Error) => {
    throw new Error(`${method} ${error.message}: ${String((error.cause as Error | undefined)?.message)}`)
  })
  const text = await response.text()
  if (response.status >= 500) throw new Error(`${method} ${response.status} ${text.slice(0, 100)}`)
  return { status: response.status, headers: response.headers, json: text === '' ? undefined : JSON.parse(text) }
}

/** The application of docs/guide/sticky.md. */
export function browsers(balancerUrl: string): Frontend {
  return {
    async signIn(name) {
      const cookies = new Map<string, string>()
      const ask = async (base: string, method: string, path: string, body?: unknown): Promise<Seen> => {
        const cookie = [...cookies].map(([key, value]) => `${key}=${value}`).join('; ')
        const headers = { cookie, 'sec-fetch-site': 'same-origin' }
        const { status, headers: answered, json } = await call(`${base}${path}`, method, headers, body)
        if (base === balancerUrl) keep(cookies, answered.getSetCookie())
        if (status === 401) return nobody
        if (status !== 200) throw new Error(`${method} ${status}`)
        const { userId = name, cart = null, by } = json as { userId?: string | null; cart?: string[]; by: string }
        return { userId, cart, by }
      }
      const through = (method: string, path: string, body?: unknown) => ask(balancerUrl, method, path, body)
      const seen = await through('POST', '/sign-in', { name })
      const device: Device = {
        get to() {
          return cookies.get('SERVER') ?? null
        },
        add: (item) => through('POST', '/cart', { item }),
        look: () => through('GET', '/cart'),
        endEverywhere: () => through('POST', '/sign-out-everywhere'),
        lookAt: (url) => ask(url, 'GET', '/cart'),
        acceptedBy: async (url) => (await ask(url, 'GET', '/me')).userId !== null,
      }
      return { device, seen }
    },
  }
}

function keep(cookies: Map<string, string>, lines: readonly string[]): void {
  for (const line of lines) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
    if (/; Max-Age=0/.test(line)) cookies.delete(name!)
    else cookies.set(name!, value!)
  }
}

/** Callers of the service's HTTP interface. */
export function callers(balancerUrl: string, adminSecret: string): Frontend {
  const authorization = `Basic ${btoa(`admin:${adminSecret}`)}`
  const api = (base: string, method: string, path: string, body?: unknown, headers = {}) =>
    call(`${base}${path}`, method, { authorization, ...headers }, body)

  return {
    async signIn(userId) {
      const start = { userId, data: { cart: [] } }
      const { json } = await api(balancerUrl, 'POST', '/v1/sessions', start)
      const { session, token } = json as { session: { id: string }; token: string }
      const cartPath = `/v1/sessions/${session.id}/data/cart`

      async function verified(base: string): Promise<string | null> {
        const { status, json } = await api(base, 'POST', '/v1/sessions/verify', { token })
        if (status !== 200) throw new Error(`verify: ${status}`)
        const answer = json as { active: boolean; session: { userId: string } }
        return answer.active ? answer.session.userId : null
      }

      async function read(base: string): Promise<{ cart: string[]; etag: string } | null> {
        const { status, headers, json } = await api(base, 'GET', cartPath)
        return status === 200 ? { cart: json as string[], etag: headers.get('etag')! } : null
      }

      async function look(base: string): Promise<Seen> {
        const as = await verified(base)
        const found = as === null ? null : await read(base)
        return found === null ? nobody : { userId: as, cart: found.cart, by: null }
      }

      const device: Device = {
        to: null,
        look: () => look(balancerUrl),
        async add(item) {
          const before = await read(balancerUrl)
          if (before === null) return nobody
          const cart = [...before.cart, item]
          const { status } = await api(balancerUrl, 'PUT', cartPath, cart, { 'if-match': before.etag })
          if (status !== 204) throw new Error(`PUT: ${status}`)
          return { userId, cart, by: null }
        },
        async endEverywhere() {
          await api(balancerUrl, 'DELETE', `/v1/users/${userId}/sessions`)
          return { userId, cart: null, by: null }
        },
        lookAt: look,
        acceptedBy: async (url) => (await verified(url)) !== null,
      }
      return { device, seen: { userId, cart: [], by: null } }
    },
  }
}
