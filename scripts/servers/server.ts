// A server process of a test: on a free port, with its data in a temporary folder, and gone when the test process is gone.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { PassThrough } from 'node:stream'

/** A running server process. One that the environment points at is somebody else's: `pid` is 0 and only `stop()` may be called. */
export interface Server {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Ends it, waits for that, and removes its data. Calling it again is harmless. */
  stop(): Promise<void>
  /** `kill -9`, and waits until it is gone. Its data stays until `stop()`. */
  kill(): Promise<void>
  /** Stops answering, with connections open (SIGSTOP). */
  pause(): void
  /** Answers again (SIGCONT). */
  resume(): void
}

/** A port that was free a moment ago, and that nobody is given by chance: not of those that the system hands out to who connects or asks for any. */
export async function freePort(): Promise<number> {
  const [from, to] = [11_000, handedOutFrom()]
  for (;;) {
    const port = from + Math.floor(Math.random() * (to - from))
    if (!given.has(port) && (await isFree(port))) {
      given.add(port)
      return port
    }
  }
}

const given = new Set<number>()

function handedOutFrom(): number {
  const range = '/proc/sys/net/ipv4/ip_local_port_range'
  const from = existsSync(range) ? Number.parseInt(readFileSync(range, 'utf8'), 10) : 32_768
  // Where nearly all are handed out, any of them is as good as another.
  return from > 15_000 ? from : 65_536
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
      .on('error', () => resolve(false))
      .listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}

/** Launches on `port` if that is given, else on a free one; between finding that and using it somebody else may take it, so up to five. */
export async function onFreePort<T>(port: number | undefined, launch: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch(port || (await freePort()))
    } catch (error) {
      if (port || attempt === 5) throw error
    }
  }
}

/**
 * The server that the environment variable points at, for machines where the tests can't start one; `null` when it is not set.
 * It is not ours to disturb.
 */
export function borrowed(variable: string, defaultPort: number): Server | null {
  const url = process.env[variable] ?? ''
  if (url === '') return null
  const refuse = () => {
    throw new Error(`the server at ${variable} is not ours to disturb`)
  }
  return {
    url,
    port: Number(new URL(url).port || defaultPort),
    pid: 0,
    stop: async () => {},
    kill: async () => refuse(),
    pause: refuse,
    resume: refuse,
  }
}

/** Where `program` is: where its variable says (`NGINX_PATH`), on the PATH, or in one of the folders (globs) where Debian keeps it. Installed first on Debian, as root. */
export function findProgram(program: string, o: { package: string; variable: string; folders?: string }): string {
  const named = o.variable.endsWith('_PATH') ? (process.env[o.variable] ?? '') : ''
  if (named !== '') return named
  const found = () =>
    [...globSync(o.folders ?? ''), ...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']
      .map((folder) => join(folder, program))
      .findLast((path) => existsSync(path))
  if (found() === undefined && process.getuid?.() === 0 && existsSync('/etc/debian_version')) {
    spawnSync('apt-get', ['update'], { stdio: 'ignore' })
    spawnSync('apt-get', ['install', '-y', o.package], { stdio: 'ignore' })
  }
  const path = found()
  if (path === undefined) {
    throw new Error(`${program} is needed: install it (apt-get install ${o.package}), or set ${o.variable}`)
  }
  return path
}

/** For servers that refuse to run as root: the user that they run as instead, `null` when we are not root. */
export function unprivileged(name: string): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null
  const line = new RegExp(`^${name}:.*$`, 'm').exec(readFileSync('/etc/passwd', 'utf8'))?.[0]
  const [, , uid, gid] = line?.split(':') ?? []
  if (uid === undefined) throw new Error(`the user ${name} is needed`)
  return { uid: Number(uid), gid: Number(gid) }
}

export interface Launched {
  readonly url: string
  readonly port: number
  /** To be removed in the end. */
  readonly folder: string | null
  readonly output: NodeJS.ReadableStream
  /** What it prints when it is ready. */
  readonly ready: RegExp
}

/** For servers that say nothing when they are ready: `output` says it when `port` is listened to. 20 ms between two looks. */
export function listening(child: ChildProcess, port: number): Pick<Launched, 'output' | 'ready'> {
  const output = new PassThrough()
  // What it complains of is for whoever asks why it did not start.
  child.stderr?.on('data', (text: Buffer) => output.write(text))
  if (child.stderr !== null) unref(child.stderr)
  void (async () => {
    while (child.exitCode === null && child.signalCode === null) {
      if (await accepts(port)) return void output.write('\nlistening\n')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })()
  return { output, ready: /^listening$/m }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}

/** Waits until it is ready, and sees to it that it goes with us. */
export async function tended(child: ChildProcess, o: Launched): Promise<Server> {
  const { url, port, folder, output, ready } = o
  const exited = once(child, 'exit')
  const pid = child.pid ?? 0
  const guard = guardAgainstOurDeath(pid, folder ?? '')
  try {
    await untilReady(child.spawnfile, output, exited, ready)
  } catch (error) {
    child.kill('SIGKILL')
    guard()
    throw error
  }
  unref(child)
  unref(output)

  let alive = true
  void exited.then(() => (alive = false))
  const kill = async () => {
    if (!alive) return
    process.kill(pid, 'SIGKILL')
    child.ref()
    await exited
  }
  return {
    url,
    port,
    pid,
    kill,
    async stop() {
      await kill()
      guard()
      if (folder !== null) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
    pause: () => stop(pid),
    resume: () => void process.kill(pid, 'SIGCONT'),
  }
}

/** The signal takes hold only when each of the threads comes to run: until then it may still answer. */
function stop(pid: number): void {
  process.kill(pid, 'SIGSTOP')
  const isStopped = (thread: string) => / T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'))
  const until = Date.now() + 1_000
  while (existsSync(`/proc/${pid}/task`) && !readdirSync(`/proc/${pid}/task`).every(isStopped) && Date.now() < until);
}

/** A shell that waits for the end of our pipe, which comes even when we are killed. The answer calls it off. */
function guardAgainstOurDeath(pid: number, folder: string): () => void {
  const script = 'read -r _ || { kill -9 "$1"; [ -z "$2" ] || rm -rf "$2"; } 2>/dev/null'
  const guard = spawn('/bin/sh', ['-c', script, 'guard', String(pid), folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  unref(guard)
  unref(guard.stdin)
  return () => {
    if (!guard.stdin.writableEnded) guard.stdin.end('done\n')
  }
}

/** A test that forgets to stop a server still comes to its end. */
function unref(handle: object): void {
  if ('unref' in handle && typeof handle.unref === 'function') handle.unref()
}

async function untilReady(
  program: string,
  output: NodeJS.ReadableStream,
  exited: Promise<unknown>,
  sign: RegExp,
): Promise<void> {
  let seen = ''
  await Promise.race([
    new Promise<void>((resolve) => {
      output.on('data', (chunk: Buffer) => {
        if (sign.test(seen)) return
        seen += chunk.toString()
        if (sign.test(seen)) resolve()
      })
    }),
    exited.then(() => {
      throw new Error(`${program} did not start: ${seen.trim().split('\n').at(-1) ?? ''}`)
    }),
  ])
}
