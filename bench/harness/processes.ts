// One server process on its own core.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { FromContender, ToContender } from './contender.ts'
import { serverCore } from './machine.ts'
import type { Question } from './person.ts'

export interface Contestant extends AsyncDisposable {
  readonly port: number
  /** CPU time so far, in µs: what it computed itself, and what the kernel did for it. */
  cpu(): Promise<{ user: number; system: number }>
}

/** Starts `contenders/<module>.ts` with its variant; the question is for data unless it says otherwise. */
export async function launch(
  module: string,
  variant: string,
  redisUrl: string,
  { question = 'data', nodeOptions = [] }: { question?: Question; nodeOptions?: readonly string[] } = {},
): Promise<Contestant> {
  const file = join(import.meta.dirname, '..', 'contenders', `${module}.ts`)
  const command = [process.execPath, '--conditions=source', ...nodeOptions, file, variant, question]
  const child = spawn('taskset', ['-c', serverCore, ...command], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, NODE_ENV: 'production', REDIS_URL: redisUrl },
  })
  const said = await answer(child, 'listening')
  return {
    port: said.port,
    async cpu() {
      const told = answer(child, 'cpu')
      child.send('cpu' satisfies ToContender)
      return (await told).usage
    },
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit')
      child.disconnect()
      await gone
    },
  }
}

async function answer<T extends FromContender['type']>(
  child: ChildProcess,
  type: T,
): Promise<FromContender & { type: T }> {
  const abort = new AbortController()
  const gone = once(child, 'exit', abort).then(() => {
    throw new Error(`a server ended before it said '${type}'`)
  })
  const [message] = (await Promise.race([once(child, 'message', abort), gone])) as [FromContender]
  abort.abort()
  if (message.type !== type) throw new Error(`expected '${type}', got '${message.type}'`)
  return message as FromContender & { type: T }
}
