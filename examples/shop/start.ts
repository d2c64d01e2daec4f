// Starts the whole shop: Redis, two replicas of everything else, and HAProxy before them.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findProgram, freePort } from '../../scripts/servers/server.ts'
import { supervise, type Program, type Supervised, type Supervision } from './supervise.ts'

export interface Shop {
  readonly url: string
  /** By name: `redis`, `cart-1`, … */
  readonly programs: ReadonlyMap<string, Supervised>
  /** Ends all of it, by pid, and removes its data. */
  stop(): Promise<void>
}

const node = ['--conditions=source', '--disable-warning=ExperimentalWarning']
const services = ['storefront', 'cart', 'orders', 'live'] as const
/** Debian's, where its packages `python3-jwt` and `python3-cryptography` are. */
const python = process.env['PYTHON_PATH'] ?? '/usr/bin/python3'

export async function startShop(supervision: Supervision): Promise<Shop> {
  const data = mkdtempSync(join(tmpdir(), 'holdfast-shop-'))
  const programs = new Map<string, Supervised>()
  const stop = async () => {
    await Promise.all([...programs.values()].map((program) => program.stop()))
    rmSync(data, { recursive: true, force: true, maxRetries: 5 })
  }
  const start = async (program: Program) => void programs.set(program.name, await supervise(program, supervision))

  try {
    // The proxy last: it takes for ready what it has not looked at yet.
    const { redis, replicas, proxy } = await programsIn(data)
    await start(redis)
    const started = await Promise.allSettled(replicas.map(start))
    for (const one of started) if (one.status === 'rejected') throw one.reason
    await start(proxy)
    return { url: `http://localhost:${programs.get('haproxy')!.port}`, programs, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function programsIn(data: string): Promise<{ redis: Program; replicas: readonly Program[]; proxy: Program }> {
  const twice = (name: string) => [`${name}-1`, `${name}-2`]
  const names = ['redis', 'haproxy', ...[...services, 'recommendations', 'holdfast'].flatMap(twice)]
  // All at once, so that no two are the same.
  const ports = new Map(await Promise.all(names.map(async (name) => [name, await freePort()] as const)))
  const at = (name: string) => `127.0.0.1:${ports.get(name)}`
  const site = `http://localhost:${ports.get('haproxy')}`
  const redisUrl = `redis://${at('redis')}`

  const program = (name: string, command: string, args: readonly string[], env: Program['env'] = {}): Program => {
    const port = ports.get(name)!
    return { name, command, args, env: { PORT: String(port), ...env }, port }
  }
  const replicas = (name: string, command: string, args: readonly string[], env: (own: string) => Program['env']) =>
    twice(name).map((own) => program(own, command, args, env(own)))

  const holdfast = {
    HOLDFAST_STORE: redisUrl,
    HOLDFAST_ISSUER: site,
    HOLDFAST_RULES: join(import.meta.dirname, 'rules.yaml'),
    HOLDFAST_TRUSTED_PROXIES: '127.0.0.1',
    HOLDFAST_ADMIN_SECRET: secret(),
    HOLDFAST_SECRET: secret(),
    HOLDFAST_LOG: 'warn',
  }
  const own = { REDIS_URL: redisUrl, KEYS_SECRET: secret(), ORDERS: `ipv4:${twice('orders').map(at).join(',')}` }

  const settings = { port: `${ports.get('redis')}`, bind: '127.0.0.1', dir: data, appendonly: 'yes', save: '' }
  const redis = program(
    'redis',
    findProgram('redis-server', { package: 'redis-server', variable: 'PATH' }),
    Object.entries({ ...settings, loglevel: 'warning' }).flatMap(([setting, value]) => [`--${setting}`, value]),
  )
  const proxy = program(
    'haproxy',
    findProgram('haproxy', { package: 'haproxy', variable: 'PATH' }),
    ['-db', '-f', 'haproxy.cfg'],
    Object.fromEntries(names.map((name) => [name.toUpperCase().replace('-', '_'), at(name)])),
  )
  return {
    redis,
    proxy,
    replicas: [
      ...services.flatMap((name) => replicas(name, process.execPath, [...node, `services/${name}.ts`], () => own)),
      ...replicas('holdfast', process.execPath, [...node, '../../service/src/main.ts', 'serve'], (name) => ({
        ...holdfast,
        HOLDFAST_PORT: String(ports.get(name)),
        HOLDFAST_DATA: data,
      })),
      ...replicas('recommendations', python, ['services/recommendations.py'], () => ({
        ISSUER: site,
        JWKS_URL: `${site}/.well-known/jwks.json`,
      })),
    ],
  }
}

function secret(): string {
  return randomBytes(32).toString('base64url')
}
