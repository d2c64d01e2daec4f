// Hosts on this machine that can lose the network: each has a namespace of its own, on one bridge with this process.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { tended, type Launched, type Server } from '../../scripts/servers/server.ts'

/** Our own address: that of every client. The net is the one for measurements (RFC 2544). */
const own = '198.18.0.254'
const mark = 'HOLDFAST_OWN_NETWORK'

/**
 * Goes on in a network namespace of our own, with a bridge for hosts; what is in it goes with this process. Nothing of the machine's own network
 * can be reached from there. Needs root on Linux.
 */
export function enterOwnNetwork(): void {
  if (process.env[mark] === undefined) {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) {
      throw new Error('network namespaces are needed: run this on Linux, as root')
    }
    const command = ['unshare', '--net', process.execPath, ...process.execArgv, ...process.argv.slice(1)]
    process.execve!('/usr/bin/unshare', command, { ...process.env, [mark]: '1' })
  }
  ip('link', 'set', 'lo', 'up')
  ip('link', 'add', 'hosts', 'type', 'bridge')
  ip('address', 'add', `${own}/24`, 'dev', 'hosts')
  ip('link', 'set', 'hosts', 'up')
}

export interface Host {
  readonly address: string
  /** Starts a server on it, and waits until it is ready. */
  run(program: string, args: readonly string[], o: Omit<Launched, 'output'> & RunOptions): Promise<Server>
  /** Takes its link down: nobody reaches it, it reaches nobody, and all that runs there runs on. */
  cut(): void
  /** It and the others don't reach each other any more; we still reach it. */
  isolate(others: readonly Host[]): void
  /** Undoes both. */
  join(): void
  /** One address more, such as that of whoever is primary. */
  take(address: string): void
  drop(address: string): void
  /** What runs there is stopped before. */
  stop(): void
}

export interface RunOptions {
  /** Who runs it; default is root. */
  readonly user?: { readonly uid: number; readonly gid: number } | null
  /** Where it prints what tells that it is ready. */
  readonly says: 'stdout' | 'stderr'
}

export async function startHost(n: number): Promise<Host> {
  const address = `198.18.0.${n}`
  const port = `port${n}`
  // It keeps the namespace until we are gone.
  const keeper = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up; echo; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  await once(keeper.stdout, 'data')
  const namespace = `--net=/proc/${keeper.pid}/ns/net`
  const inside = (...args: string[]) => call('nsenter', [namespace, 'ip', ...args])
  ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(keeper.pid))
  ip('link', 'set', port, 'master', 'hosts', 'up')
  inside('address', 'add', `${address}/24`, 'dev', 'eth0')
  inside('link', 'set', 'eth0', 'up')
  let unreachable: readonly Host[] = []

  return {
    address,
    run(program, args, { user = null, says, ...launched }) {
      const as = user === null ? [] : ['--setuid', String(user.uid), '--setgid', String(user.gid)]
      const child = spawn('nsenter', [namespace, ...as, '--', program, ...args], {
        cwd: launched.folder ?? '/',
        stdio: ['ignore', says === 'stdout' ? 'pipe' : 'ignore', says === 'stderr' ? 'pipe' : 'ignore'],
      })
      return tended(child, { ...launched, output: child[says]! })
    },
    cut: () => ip('link', 'set', port, 'down'),
    isolate(others) {
      unreachable = others
      for (const other of others) inside('route', 'add', 'blackhole', `${other.address}/32`)
    },
    join() {
      ip('link', 'set', port, 'up')
      for (const other of unreachable) inside('route', 'del', 'blackhole', `${other.address}/32`)
      unreachable = []
    },
    take(extra) {
      inside('address', 'add', `${extra}/24`, 'dev', 'eth0')
      // Whoever had it before is forgotten, as by the announcement that such tools send.
      ip('neighbour', 'flush', 'to', extra)
    },
    drop: (extra) => inside('address', 'del', `${extra}/24`, 'dev', 'eth0'),
    stop() {
      keeper.stdin.end()
      ip('link', 'del', port)
    },
  }
}

function ip(...args: string[]): void {
  call('ip', args)
}

function call(program: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`)
}
