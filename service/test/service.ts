// A service for tests: inside of the test process, or as the command that users run. Secrets must not show in what it writes.
import assert from 'node:assert/strict'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startRedis } from '../../scripts/servers/redis.ts'
import { clientRegistry } from '../src/clients.ts'
import { openEngine } from '../src/engines/engine.ts'
import { parseStoreUrl } from '../src/engines/store-url.ts'
import { createLogger } from '../src/logs.ts'
import { createService } from '../src/service.ts'
import { readSettings } from '../src/settings.ts'

export const main = join(import.meta.dirname, '../src/main.ts')
export const adminSecret = 'the-admin-secret-of-these-tests-which-is-long'
export const keySecret = 'the-secret-of-the-keys-of-these-tests-which-is-long'
export const issuer = 'https://sessions.test'

/** An answer, with its body as text and, if it is JSON, as a value. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any
}

export interface CallOptions {
  /** `id:secret`; `null` for none. Default: the client `admin`. */
  readonly as?: string | null
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON; a string or bytes as they are. */
  readonly body?: unknown
  readonly form?: Readonly<Record<string, string>>
}

export interface Caller {
  readonly url: string
  call(method: string, path: string, o?: CallOptions): Promise<Answer>
  /** Starts a session and answers it with its token. */
  start(o?: object): Promise<{ id: string; token: string }>
  /** The same with a signed token and one to refresh it. */
  startSigned(o?: object): Promise<{ id: string; accessToken: string; refreshToken: string }>
}

/** Everything the service handed out that must never be written anywhere. */
const secrets = new Set([adminSecret, keySecret, Buffer.from(`admin:${adminSecret}`).toString('base64')])

export function keepSecret(text: string): void {
  secrets.add(text)
}

export function assertNoSecrets(output: string): void {
  for (const secret of secrets) assert.ok(!output.includes(secret), 'a secret is in the output')
}

export function caller(url: string): Caller {
  async function call(method: string, path: string, o: CallOptions = {}): Promise<Answer> {
    const headers = new Headers(o.headers)
    const as = o.as === undefined ? `admin:${adminSecret}` : o.as
    if (as !== null && !headers.has('authorization')) headers.set('authorization', basic(as))
    const body = o.form === undefined ? encode(o.body) : new URLSearchParams(o.form).toString()
    if (body !== null && !headers.has('content-type')) {
      headers.set('content-type', o.form === undefined ? 'application/json' : 'application/x-www-form-urlencoded')
    }
    const response = await fetch(`${url}${path}`, { method, headers, body: body as RequestInit['body'] & {} })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json') === true && text !== ''
    const answer = {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson ? JSON.parse(text) : undefined,
    }
    const { token, accessToken, refreshToken, assertion } = (answer.body ?? {}) as Record<string, unknown>
    for (const secret of [token, accessToken, refreshToken, assertion])
      if (typeof secret === 'string') keepSecret(secret)
    return answer
  }

  return {
    url,
    call,
    async start(o = {}) {
      const { status, body } = await call('POST', '/v1/sessions', { body: { userId: 'ada', ...o } })
      assert.equal(status, 201)
      return { id: body.session.id, token: body.token }
    },
    async startSigned(o = {}) {
      const { status, body } = await call('POST', '/v1/sessions', {
        body: { userId: 'ada', credential: 'signed', ...o },
      })
      assert.equal(status, 201)
      const { session, accessToken, refreshToken } = body
      return { id: session.id, accessToken, refreshToken }
    },
  }
}

function encode(body: unknown): string | Uint8Array | null {
  if (body === undefined) return null
  return typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
}

export function basic(credentials: string): string {
  return `Basic ${Buffer.from(credentials).toString('base64')}`
}

export interface TestService extends Caller {
  readonly lines: readonly Record<string, unknown>[]
  /** Adds a client and answers what `as` takes. */
  addClient(id: string, ...permissions: string[]): Promise<string>
  removeClient(id: string): Promise<void>
  stop(): Promise<void>
}

export async function serviceOn(store: string, env: Record<string, string> = {}): Promise<TestService> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-service-'))
  const settings = readSettings({
    HOLDFAST_DATA: folder,
    HOLDFAST_ADMIN_SECRET: adminSecret,
    HOLDFAST_SECRET: keySecret,
    HOLDFAST_ISSUER: issuer,
    HOLDFAST_STORE: store,
    ...env,
  })
  const written: string[] = []
  const logger = createLogger('info', { write: (line: string) => void written.push(line) })
  const service = await createService(settings, logger)
  await service.app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = service.app.server.address() as AddressInfo
  // Another connection, as the command line has it. Clients of a memory store have no such way.
  const engine = await openEngine(parseStoreUrl(store))
  const registry = clientRegistry(engine.clients)
  return {
    ...caller(`http://127.0.0.1:${port}`),
    get lines() {
      return written.map((line) => JSON.parse(line) as Record<string, unknown>)
    },
    async addClient(id, ...permissions) {
      const secret = await registry.add(id, permissions)
      assert.ok(secret !== null)
      keepSecret(secret)
      return `${id}:${secret}`
    },
    async removeClient(id) {
      assert.equal(await registry.remove(id), true)
    },
    async stop() {
      await service.stop(1000)
      await engine.close()
      rmSync(folder, { recursive: true })
      assertNoSecrets(written.join(''))
    },
  }
}

/** A store that is there for one test file. */
export interface Engine {
  readonly name: string
  start(): Promise<{ url: string; stop(): Promise<void> }>
}

/** The engines that every call is tested on. */
export const engines: readonly Engine[] = [
  {
    name: 'sqlite',
    async start() {
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-sqlite-'))
      return { url: `sqlite:${join(folder, 'test.db')}`, stop: async () => rmSync(folder, { recursive: true }) }
    },
  },
  { name: 'redis', start: () => startRedis() },
]

/** The command, run to its end. */
export function holdfast(
  args: readonly string[],
  env: Record<string, string>,
): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--conditions=source', main, ...args], {
    env: { ...cleanEnv(), ...env },
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { code: status, out: stdout, err: stderr }
}

export interface ServedProcess extends Caller {
  readonly child: ChildProcess
  /** Everything that was written so far. */
  output(): string
  /** What is printed for people. */
  readonly welcome: string
  /** Sends a signal, waits for the end and answers the exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>
}

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

/** `holdfast serve` in a process of its own, on a free port. */
export async function serve(env: Record<string, string>): Promise<ServedProcess> {
  const child = spawn(process.execPath, ['--conditions=source', main, 'serve'], {
    env: { ...cleanEnv(), HOLDFAST_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8')
  // Not `exit`: by then the last that it wrote may not have come.
  const closed = once(child, 'close') as Promise<[number | null]>
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr.on('data', (text: string) => {
      err += text
      const found = /ready at (http:\S+)[^]*\/verify; echo\n\n$/.exec(err)
      if (found !== null) resolve(found[1]!)
    })
    void closed.then(() => reject(new Error(`it did not start: ${err}`)))
  })
  // A test that fails must not wait for it, nor leave it running.
  const handles = [child, child.stdout as Socket, child.stderr as Socket]
  for (const one of handles) one.unref()
  children.add(child)
  return {
    ...caller(url),
    child,
    output: () => out + err,
    welcome: err,
    async end(signal = 'SIGTERM') {
      for (const one of handles) one.ref()
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      const [code] = await closed
      children.delete(child)
      assertNoSecrets(out + err)
      return code
    },
  }
}

/** Without settings of whoever runs the tests. Give `HOLDFAST_SECRET: ''` for a secret in the data folder. */
function cleanEnv(): Record<string, string> {
  const entries = Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_'))
  return { ...(Object.fromEntries(entries) as Record<string, string>), HOLDFAST_SECRET: keySecret }
}

/** Waits until it holds. For what has no event; the deadline is generous. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const giveUpAt = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > giveUpAt) throw new Error(`waited in vain for: ${what}`)
    await new Promise((resolve) => {
      setTimeout(resolve, 20)
    })
  }
}
