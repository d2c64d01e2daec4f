// A browser without a network, and what the sessions of the contract hold.
import assert from 'node:assert/strict'
import type { StandardSchema } from '../data.ts'
import type { RefusedReason } from '../events.ts'
import type { Session } from '../session.ts'
import type { Sessions } from '../sessions.ts'
import type { Exchange } from '../transport/transport.ts'
import type { SessionsUnderTest } from './sessions.ts'

/** The sections that the contract uses. */
export interface ContractData {
  readonly cart: readonly string[]
  readonly visits: number
  readonly note: string | undefined
}

export type ContractSessions = Sessions<ContractData>

function schema<T>(what: string, standIn: T, fits: (value: unknown) => boolean): StandardSchema<T> {
  return {
    '~standard': {
      version: 1,
      vendor: 'holdfast',
      validate(value) {
        if (value === undefined) return { value: standIn }
        return fits(value) ? { value: value as T } : { issues: [{ message: `expected ${what}` }] }
      },
    },
  }
}

/** To be given to what makes the sessions under test. */
export const contractOptions = {
  data: {
    cart: schema<readonly string[]>('texts', [], (value) => Array.isArray(value)),
    visits: schema('a number, 0 or more', 0, (value) => typeof value === 'number' && value >= 0),
    note: schema<string | undefined>('a text', undefined, (value) => typeof value === 'string'),
  },
  roles: { shopper: ['orders:read'], clerk: ['orders:*'] },
}

export interface Browser {
  /** The session of one request of its own site. */
  visit(headers?: Readonly<Record<string, string>>): Promise<Session<ContractData>>
  /** `null`: it has no cookie. */
  readonly token: string | null
}

/** Keeps one cookie, as the default transport hands it out. */
export function browser(sessions: ContractSessions): Browser {
  let cookie: string | null = null

  function exchange(own: Readonly<Record<string, string>>): Exchange {
    const headers = new Headers({ host: 'shop.example', 'sec-fetch-site': 'same-origin', ...own })
    if (cookie !== null) headers.set('cookie', `__Host-session=${cookie}`)
    return {
      method: 'POST',
      header: (name) => headers.get(name),
      address: '192.0.2.1',
      headersSent: false,
      setCookie(line) {
        const value = /^__Host-session=([^;]*)/.exec(line)?.[1]
        if (value !== undefined) cookie = value === '' ? null : value
      },
      dependsOn() {},
    }
  }

  return {
    visit: async (headers = {}) => sessions.open(exchange(headers)),
    get token() {
      return cookie
    },
  }
}

/** A user of whom there is no session yet. */
export function newUser(): string {
  return `user-${crypto.randomUUID()}`
}

/** The sessions as two processes have them. */
export async function processes(t: SessionsUnderTest): Promise<readonly [ContractSessions, ContractSessions]> {
  return [t.sessions, (await t.another?.()) ?? t.sessions]
}

/** The reason why `sessions` refuses a token that ended just now: no request may open it that begins after the bound. */
export async function refusedInTime(
  { maxStalenessMs = 0 }: SessionsUnderTest,
  sessions: ContractSessions,
  token: string,
): Promise<RefusedReason> {
  const endedAt = performance.now()
  for (;;) {
    const askedAt = performance.now()
    const { refused } = await sessions.open(token)
    if (refused !== null) return refused
    assert.ok(askedAt - endedAt <= maxStalenessMs, `accepted ${askedAt - endedAt} ms after it was ended`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Resolves when it holds; rejects when it does not within the bound. */
export async function comesTrue(
  { maxStalenessMs = 0 }: SessionsUnderTest,
  holds: () => Promise<boolean>,
): Promise<void> {
  const from = performance.now()
  for (;;) {
    const askedAt = performance.now()
    if (await holds()) return
    assert.ok(askedAt - from <= maxStalenessMs, `not so ${askedAt - from} ms later`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
