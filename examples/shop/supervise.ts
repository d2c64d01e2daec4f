// Keeps a program running: its output line by line with its name before it, and started again when it dies.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { listening, tended, type Server } from '../../scripts/servers/server.ts'

export interface Program {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** All of its environment, but for `PATH`. */
  readonly env: Readonly<Record<string, string>>
  /** Where it listens once it is ready. */
  readonly port: number
}

export interface Supervision {
  readonly log: (line: string) => void
  /** Waited for before what died is started again. */
  readonly beforeRestart: (name: string) => Promise<unknown>
}

export interface Supervised {
  readonly name: string
  readonly port: number
  /** Of the process that runs now, or ran last. */
  readonly pid: number
  stop(): Promise<void>
}

/** Resolves when it listens. */
export async function supervise(program: Program, { log, beforeRestart }: Supervision): Promise<Supervised> {
  const { name, port } = program
  let stopping = false
  let starting = start()
  let server = await starting

  async function start(): Promise<Server> {
    const child = spawned(program, log)
    const started = await tended(child, { url: '', port, folder: null, ...listening(child, port) })
    void once(child, 'exit').then(async () => {
      if (stopping) return
      log(`${name} (${started.pid}) is gone`)
      await started.stop()
      await revive()
    })
    return started
  }

  async function revive(): Promise<void> {
    await beforeRestart(name)
    if (stopping) return
    try {
      starting = start()
      server = await starting
      log(`${name} is back, pid ${server.pid}`)
    } catch (error) {
      log((error as Error).message)
      await revive()
    }
  }

  return {
    name,
    port,
    get pid() {
      return server.pid
    },
    async stop() {
      stopping = true
      await (await starting.catch(() => server)).stop()
    },
  }
}

function spawned({ name, command, args, env }: Program, log: (line: string) => void): ChildProcess {
  const child = spawn(command, args, {
    cwd: import.meta.dirname,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  for (const output of [child.stdout!, child.stderr!]) {
    createInterface(output).on('line', (line) => log(`${name.padEnd(18)}| ${line}`))
  }
  return child
}
