// What every contender does in the same way: announces its port, tells its CPU time, and connects to Redis.
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createClient } from 'redis'
import { answer, content, type Content, type Question } from './person.ts'

/** What a contender tells the harness, over IPC. */
export type FromContender =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'cpu'; readonly usage: NodeJS.CpuUsage }
/** What the harness asks. */
export type ToContender = 'cpu'

/**
 * The contract: `POST /` with a header `x-user: n` starts the session of person `n` and answers its cookies, or a bearer token in
 * the header `x-bearer`; `GET /` with them answers `{ userId, data }`, or `{ userId, roles }` where the question is `identity`.
 * The first argument of the process says which variant it is, the second the question.
 */
export const variant = process.argv[2] ?? ''
const question = (process.argv[3] ?? 'data') as Question

/** What the session of person `n` is given. */
export const contentOf = (n: number): Content => content(question, n)
/** What is answered from it. */
export const answerFrom = (held: Pick<Content, 'userId' | 'roles' | 'data'>): object => answer(question, held)
/** Whether the answer needs what the session holds. */
export const asksForData = question === 'data'

/** Starts answering, on a free port, until the harness goes away. */
export function contend(server: Server): void {
  server.listen(0, '127.0.0.1', () => {
    tell({ type: 'listening', port: (server.address() as AddressInfo).port })
  })
  process.on('message', () => tell({ type: 'cpu', usage: process.cpuUsage() }))
  process.on('disconnect', () => process.exit())
}

/** An option of node-redis whose type does not admit the value that switches it off. */
export const withoutTimeout = { commandOptions: { timeout: undefined } } as object

/** A client without the default command timeout, which costs more than the command; `default` keeps it. */
export async function connectRedis(timeout: 'none' | 'default' = 'none', url = process.env['REDIS_URL']!) {
  const client = createClient({ url, ...(timeout === 'none' ? withoutTimeout : {}) })
  client.on('error', (error: unknown) => {
    throw error
  })
  await client.connect()
  return client
}

/** A cookie as long as an opaque credential, for contenders that look at none. */
export function idleCookie(n: number): string {
  return `__Host-session=${String(n).padStart(22, '0')}.${'0'.repeat(43)}`
}

/** The number in a cookie of `idleCookie`, by position: a floor does not search. */
export function personIn(cookie: string): number {
  return Number(cookie.slice(15, 37))
}

export function userIn(headers: NodeJS.Dict<string | string[]>): number {
  return Number(headers['x-user'])
}

function tell(message: FromContender): void {
  process.send!(message)
}
