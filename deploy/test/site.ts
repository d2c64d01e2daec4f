// A site as the files of this folder make it: a store, two replicas of the service, two instances of an application, and each proxy in front.
import { join } from 'node:path'
import { startCaddy } from '../../scripts/servers/caddy.ts'
import { startHaproxy } from '../../scripts/servers/haproxy.ts'
import { startHoldfast } from '../../scripts/servers/holdfast.ts'
import { startNginx } from '../../scripts/servers/nginx.ts'
import { startRedis } from '../../scripts/servers/redis.ts'
import type { Server } from '../../scripts/servers/server.ts'
import { startUpstream, type Upstream } from './upstream.ts'

export const host = 'shop.test'
const deploy = join(import.meta.dirname, '..')
const adminSecret = 'the-admin-secret-of-these-tests-which-is-long'

/** What stands in `STICKY` for each way to keep a user at one instance. */
type Sticky = Readonly<Record<'cookie' | 'session', string>>
type Start = (config: string, env: Readonly<Record<string, string>>, port?: number) => Promise<Server>

export interface Proxy {
  readonly name: string
  readonly config: string
  readonly start: Start
  readonly sticky: Sticky
}

const names = { cookie: 'cookie', session: 'session' }

export const nginx: Proxy = {
  name: 'nginx',
  config: join(deploy, 'nginx/holdfast.conf.template'),
  start: startNginx,
  sticky: names,
}
export const haproxy: Proxy = {
  name: 'haproxy',
  config: join(deploy, 'haproxy/haproxy.cfg'),
  start: startHaproxy,
  sticky: names,
}
export const caddy: Proxy = {
  name: 'caddy',
  config: join(deploy, 'caddy/Caddyfile'),
  start: startCaddy,
  sticky: { cookie: 'cookie holdfast_route', session: 'header X-Holdfast-Session' },
}

export interface Tokens {
  readonly id: string
  /** The `Cookie` header of a browser that has them. */
  readonly cookie: string
}

export interface Site {
  readonly store: Server
  readonly upstreams: readonly Upstream[]
  /** The replicas that run. */
  readonly replicas: readonly Server[]
  /** Requests that came to the application since the last call. */
  arrivals(): Upstream['arrived']
  front(proxy: Proxy, sticky?: keyof Sticky): Promise<Server>
  /** Starts a session, as an application does whose user has signed in. */
  signIn(userId: string, o?: object): Promise<Tokens>
  endSession(id: string): Promise<void>
  /** After `kill()`, on its old port. */
  restart(replica: number): Promise<void>
  stop(): Promise<void>
}

export async function startSite(): Promise<Site> {
  const store = await startRedis()
  const settings = {
    HOLDFAST_STORE: store.url,
    HOLDFAST_ADMIN_SECRET: adminSecret,
    HOLDFAST_SECRET: 'the-secret-of-the-keys-of-these-tests-which-is-long',
    HOLDFAST_ISSUER: 'https://sessions.test',
    HOLDFAST_TRUSTED_PROXIES: '127.0.0.1',
    HOLDFAST_RULES: join(deploy, 'rules.yaml'),
    HOLDFAST_LOG: 'silent',
  }
  const replicas = await Promise.all([startHoldfast(settings), startHoldfast(settings)])
  const upstreams = await Promise.all(
    [0, 1].map((n) => startUpstream(n, async (who) => setCookie((await signIn(who)).cookie))),
  )
  const fronts: Server[] = []

  async function call(method: string, path: string, body?: object): Promise<Response> {
    const answer = await fetch(`${replicas[0]!.url}${path}`, {
      method,
      headers: {
        authorization: `Basic ${Buffer.from(`admin:${adminSecret}`).toString('base64')}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`)
    return answer
  }

  async function signIn(userId: string, o: object = {}): Promise<Tokens> {
    const roles = [userId === 'root' ? 'admin' : 'shopper']
    const answer = await call('POST', '/v1/sessions', { userId, roles, ...o })
    const { session, token, accessToken, refreshToken } = (await answer.json()) as Record<string, string> & {
      session: { id: string }
    }
    const cookie = token ?? accessToken
    return {
      id: session.id,
      cookie: `__Host-session=${cookie}${refreshToken === undefined ? '' : `; __Host-session-refresh=${refreshToken}`}`,
    }
  }

  return {
    store,
    upstreams,
    replicas,
    arrivals: () => upstreams.flatMap(({ arrived }) => arrived.splice(0)),
    async front(proxy, sticky = 'cookie') {
      const front = await proxy.start(proxy.config, {
        ADDRESS: '127.0.0.1',
        SITE: host,
        AUTH_1: `127.0.0.1:${replicas[0]!.port}`,
        AUTH_2: `127.0.0.1:${replicas[1]!.port}`,
        APP_1: upstreams[0]!.address,
        APP_2: upstreams[1]!.address,
        STICKY: proxy.sticky[sticky],
      })
      fronts.push(front)
      return front
    },
    signIn,
    endSession: async (id) => void (await call('DELETE', `/v1/sessions/${id}`)),
    async restart(replica) {
      const { port, stop } = replicas[replica]!
      await stop()
      replicas[replica] = await startHoldfast(settings, port)
    },
    async stop() {
      await Promise.all([...fronts, ...replicas].map((server) => server.stop()))
      await Promise.all(upstreams.map((upstream) => upstream.stop()))
      await store.stop()
    },
  }
}

function setCookie(cookie: string): string {
  return `${cookie}; Path=/; Secure; HttpOnly; SameSite=Lax`
}
