// What the tests share: sessions on a memory store with a clock and randomness of their own, and browsers without a network.
import {
  createSessions,
  type DataOf,
  type Schemas,
  type Session,
  type Sessions,
  type SessionsOptions,
} from '../src/index.ts'
import type { SessionEvent, SessionRecord, Store } from '../src/index.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { fakeClock, type FakeClock } from '../src/testing/clock.ts'
import type { Exchange } from '../src/index.ts'

export interface System<Data> {
  readonly sessions: Sessions<Data>
  readonly clock: FakeClock
  readonly store: Store
  readonly events: SessionEvent[]
  /** A new browser, with no cookie yet. */
  browser(): Browser<Data>
}

/** Sessions as an application would make them, on a memory store (seen through `through`), in a world of their own. */
export function system<const S extends Schemas>(
  o: Partial<SessionsOptions<S>> = {},
  through: (store: Store) => Store = (store) => store,
): System<DataOf<S>> {
  const clock = fakeClock()
  const store = through(o.store ?? memoryStore({ clock }))
  const events: SessionEvent[] = []
  const onEvent = (event: SessionEvent) => void events.push(event)
  const sessions = createSessions<S>({ now: clock.now, random: fakeRandom(), onEvent, ...o, store })
  return { sessions, clock, store, events, browser: () => browser(sessions) }
}

/** Bytes that look random and are the same in every run. */
export function fakeRandom(seed = 1): (bytes: number) => Uint8Array {
  let state = seed
  return (bytes) =>
    Uint8Array.from({ length: bytes }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return state >>> 24
    })
}

export interface Browser<Data> {
  /** Name → value, as a browser keeps them. */
  readonly cookies: Map<string, string>
  /** The value of the session cookie. */
  readonly token: string | null
  /** Every `Set-Cookie` line it got. */
  readonly lines: string[]
  /** Opens the session of one request of its own site. */
  visit(o?: RequestOptions): Promise<Session<Data>>
  /** The same cookies in a second browser: a thief's, or another process that looks at one request again. */
  copy(): Browser<Data>
}

export interface RequestOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly address?: string | null
}

export function browser<Data>(sessions: Sessions<Data>, from: Iterable<readonly [string, string]> = []): Browser<Data> {
  const cookies = new Map(from)
  const lines: string[] = []
  function keep(line: string): void {
    lines.push(line)
    const [pair] = line.split(';') as [string]
    const name = pair.slice(0, pair.indexOf('='))
    if (/; Max-Age=0\b/.test(line)) cookies.delete(name)
    else cookies.set(name, pair.slice(name.length + 1))
  }
  return {
    cookies,
    lines,
    get token() {
      return cookies.get('__Host-session') ?? null
    },
    visit: (o = {}) => sessions.open(exchange({ ...o, cookies, keep })),
    copy: () => browser(sessions, cookies),
  }
}

/** A request and what happens to its response. */
export class FakeExchange implements Exchange {
  readonly method: string
  readonly address: string | null
  headersSent = false
  readonly setCookies: string[] = []
  readonly reads: string[] = []
  readonly #headers: Headers
  readonly #keep: (line: string) => void

  constructor(method: string, headers: Headers, address: string | null, keep: (line: string) => void) {
    this.method = method
    this.address = address
    this.#headers = headers
    this.#keep = keep
  }
  header(name: string): string | null {
    return this.#headers.get(name)
  }
  setCookie(line: string): void {
    this.setCookies.push(line)
    this.#keep(line)
  }
  dependsOn(header: string): void {
    this.reads.push(header)
  }
}

export function exchange(
  o: RequestOptions & { cookies?: ReadonlyMap<string, string>; keep?: (line: string) => void } = {},
): FakeExchange {
  const headers = new Headers({ host: 'shop.example', 'sec-fetch-site': 'same-origin', ...o.headers })
  const cookies = [...(o.cookies ?? [])].map(([name, value]) => `${name}=${value}`)
  if (cookies.length > 0) headers.set('cookie', cookies.join('; '))
  return new FakeExchange(o.method ?? 'POST', headers, o.address ?? '192.0.2.1', o.keep ?? (() => {}))
}

/** A store of which calls are counted, changed or failed by `around`. */
export function around(
  store: Store,
  meddle: (call: keyof Store, run: () => Promise<unknown>, args: readonly unknown[]) => Promise<unknown>,
): Store {
  const wrap =
    (call: keyof Store) =>
    (...args: unknown[]) =>
      meddle(call, () => (store[call] as (...args: unknown[]) => Promise<unknown>)(...args), args)
  return {
    get: wrap('get'),
    put: wrap('put'),
    delete: wrap('delete'),
    listByUser: wrap('listByUser'),
  } as unknown as Store
}

/** Notes in `calls` what the store is asked. */
export function counting(calls: (keyof Store)[]): (store: Store) => Store {
  return (store) =>
    around(store, (call, run) => {
      calls.push(call)
      return run()
    })
}

export function record(o: Partial<SessionRecord> = {}): SessionRecord {
  const at = Date.UTC(2026, 0, 1)
  return {
    id: 'i'.repeat(22),
    userId: 'ada',
    credential: 'kept',
    identity: '{}',
    data: '{}',
    createdAt: at,
    seenAt: at,
    expiresAt: at + 1_800_000,
    epoch: 1,
    version: 1,
    ...o,
  }
}

/** Resolves when everything that can happen without the outside world has happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

/**
 * `call`, which may take `ms`; rejects when it takes longer. It is measured by what this process comes to meanwhile, so that one that is held up, in which
 * nothing can end in time, is not taken for one that hangs.
 */
export async function within<T>(ms: number, call: Promise<T>): Promise<T> {
  const over = new AbortController()
  const late = async () => {
    for (let i = 0; i < 20 && !over.signal.aborted; i++) await new Promise((resolve) => setTimeout(resolve, ms / 20))
    throw new Error(`not within ${ms} ms`)
  }
  try {
    return await Promise.race([call, late()])
  } finally {
    over.abort()
  }
}

/** Deadlines do not keep a process alive; a test that waits for one alone must do so itself. */
export function stayAwake(): { sleep(): void } {
  const timer = setInterval(() => {}, 60_000)
  return { sleep: () => clearInterval(timer) }
}
