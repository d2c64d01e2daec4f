// Processes of the system under test that can be killed, stopped and started again: verifying processes and services.
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { clock } from './history.ts'
import type { Act, Done, FromNode, KnownToken, NodeConfig, ToNode } from './node-protocol.ts'

export interface Part {
  readonly name: string
  /** `kill -9`, and waits until it is gone. */
  kill(): Promise<void>
  pause(): void
  resume(): void
  /** After `kill`. */
  restart(): Promise<void>
  stop(): Promise<void>
}

const root = join(import.meta.dirname, '..')
const nodeArguments = ['--conditions=source', '--disable-warning=ExperimentalWarning']

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

function launch(args: readonly string[], env: NodeJS.ProcessEnv, stdio: StdioOptions): ChildProcess {
  const child = spawn(process.execPath, [...nodeArguments, ...args], { env, stdio, cwd: root })
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** A session service: the command, on a fixed port. */
export async function startService(name: string, env: Record<string, string>): Promise<Part> {
  let child = await serve()

  async function serve(): Promise<ChildProcess> {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_'))
    const main = join(root, 'service/src/main.ts')
    const started = launch([main, 'serve'], { ...Object.fromEntries(inherited), ...env }, ['ignore', 'ignore', 'pipe'])
    const ready = Promise.withResolvers<void>()
    let said = ''
    started.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4_000)
      if (said.includes('ready at http')) ready.resolve()
    })
    void once(started, 'exit').then(() => ready.reject(new Error(`${name} did not start: ${said}`)))
    await ready.promise
    return started
  }

  return {
    name,
    kill: () => kill(child),
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async restart() {
      child = await serve()
    },
    stop: () => kill(child),
  }
}

export interface VerifyingNode extends Part {
  /** Whether it was started and not killed; it may be paused. */
  readonly isUp: boolean
  /** Its clock is wrong: nobody should have tokens made there. */
  readonly isOff: boolean
  tell(message: ToNode): void
  /** An answer without an end: it died before it gave one. */
  act(act: Act): Promise<Done & { readonly node: string }>
}

/** A verifying process. One that comes up again learns the tokens that `known` has then. */
export async function startNode(config: NodeConfig, known: () => readonly KnownToken[]): Promise<VerifyingNode> {
  let times = 0
  let seq = 0
  let offsetMs = 0
  let isUp = false
  let isWanted = true
  let child: ChildProcess
  const waiting = new Map<number, (done: Done) => void>()

  /** To one that just died, nothing: what was asked of it is lost when its end is seen. */
  function send(message: ToNode): void {
    if (isUp) child.send(message, () => {})
  }

  async function end(): Promise<void> {
    isWanted = false
    isUp = false
    await kill(child)
  }

  async function restart(): Promise<void> {
    isWanted = true
    await run()
  }

  async function run(): Promise<void> {
    const mine = { ...config, name: `${config.name}#${++times}`, seed: config.seed + times }
    const args = [join(import.meta.dirname, 'node.ts'), JSON.stringify(mine)]
    const started = launch(args, process.env, ['ignore', 'inherit', 'inherit', 'ipc'])
    child = started
    const ready = Promise.withResolvers<void>()
    started.on('message', (message: FromNode) => {
      if (message.type === 'ready') return ready.resolve()
      waiting.get(message.seq)?.(message)
      waiting.delete(message.seq)
    })
    started.once('exit', () => {
      isUp = false
      ready.reject(new Error(`${mine.name} did not start`))
      for (const lost of waiting.values()) lost({ began: 0, ended: Infinity, result: { is: 'failed', why: 'it died' } })
      waiting.clear()
      if (!isWanted) return
      if (config.bug === null) throw new Error(`${mine.name} died by itself`)
      run().catch(() => {})
    })
    await ready.promise
    isUp = true
    send({ type: 'know', tokens: known() })
  }

  await run()
  return {
    name: config.name,
    get isUp() {
      return isUp
    },
    get isOff() {
      return offsetMs !== 0
    },
    tell(message) {
      if (message.type === 'clock') offsetMs = message.offsetMs
      send(message)
    },
    act(act) {
      const began = clock()
      const node = `${config.name}#${times}`
      if (!isUp) return Promise.resolve({ node, began, ended: began, result: { is: 'failed', why: 'it is down' } })
      return new Promise((resolve) => {
        // What was asked before it died may have been done.
        waiting.set(++seq, (done) => resolve({ ...done, node, began: done.began || began }))
        send({ type: 'act', seq, act })
      })
    },
    kill: end,
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    restart,
    stop: end,
  }
}
