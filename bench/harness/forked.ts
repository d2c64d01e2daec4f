// Processes that a measurement runs beside itself, and what is said between them.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface Forked<Told> extends AsyncDisposable {
  say(message: object): void
  /** The next message with this `type`. Rejects when the process ends first. */
  hear<T extends string>(type: T): Promise<Told & { readonly type: T }>
}

/** Starts `processes/<module>.ts`, told where Redis is. */
export function forked<Told extends { readonly type: string }>(
  module: string,
  redisUrl: string,
  args: readonly string[] = [],
  nodeOptions: readonly string[] = [],
): Forked<Told> {
  const child = fork(join(import.meta.dirname, '..', 'processes', `${module}.ts`), args, {
    execArgv: ['--conditions=source', ...nodeOptions],
    env: { ...process.env, NODE_ENV: 'production', REDIS_URL: redisUrl },
  })
  const gone = once(child, 'exit')
  return {
    say: (message) => void child.send(message),
    hear: <T extends string>(type: T) =>
      new Promise<Told & { readonly type: T }>((resolve, reject) => {
        child.on('message', function hear(message: Told) {
          if (message.type !== type) return
          child.off('message', hear)
          resolve(message as Told & { readonly type: T })
        })
        gone.then(() => reject(new Error(`${module} ended before it said '${type}'`)), reject)
      }),
    async [Symbol.asyncDispose]() {
      if (child.connected) child.disconnect()
      await gone
    },
  }
}

/** In the forked process: what it is told goes to `hear`, until the one that started it goes away. */
export function report(hear: (asked: object) => void): (message: object) => void {
  process.on('message', hear)
  process.on('disconnect', () => process.exit())
  return (message) => void process.send!(message)
}

/** The monotonic clock, which all processes of a machine share, in ms. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
