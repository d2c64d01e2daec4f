// One of several instances of a program, on a fixed port: killed, stopped in good order, started again.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { freePort, listening, tended, type Server } from '../scripts/servers/server.ts'

export interface Replica {
  /** As the balancer calls it. */
  readonly name: string
  readonly port: number
  readonly url: string
  /** `kill -9`, and waits until it is gone. */
  kill(): Promise<void>
  /** SIGTERM, and waits until it is gone. Rejects when it does not end as it should. */
  end(): Promise<void>
  /** After one of them; resolves when it listens. */
  start(): Promise<void>
  stop(): Promise<void>
}

/** `env` is of the port that was found. */
export async function startReplica(
  name: string,
  args: readonly string[],
  env: (port: number) => Readonly<Record<string, string>>,
): Promise<Replica> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const inherited = Object.entries(process.env).filter(([variable]) => !variable.startsWith('HOLDFAST_'))
  let server: Server
  let exited: Promise<unknown[]>

  async function start(): Promise<void> {
    const child: ChildProcess = spawn(
      process.execPath,
      ['--conditions=source', '--disable-warning=ExperimentalWarning', ...args],
      {
        env: { ...Object.fromEntries(inherited), ...env(port), NODE_ENV: 'production' },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    )
    server = await tended(child, { url, port, folder: null, ...listening(child, port) })
    // After those of `tended`, which is then the first to know.
    exited = once(child, 'exit')
  }

  await start()
  return {
    name,
    port,
    url,
    start,
    kill: () => server.kill(),
    async end() {
      process.kill(server.pid, 'SIGTERM')
      const [code] = await exited
      await server.stop()
      if (code !== 0) throw new Error(`${name} ended with ${String(code)}`)
    },
    stop: () => server.stop(),
  }
}
