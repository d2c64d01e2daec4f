// What the measurements ran on, and seeing to it that everything they need is there.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

/** The core of the one server process, and the core of everything else: the load and Redis. */
export const serverCore = '0'
export const loadCore = '1'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `${process.platform} ${release().split('-')[0]}`,
  }
}

/** Installs wrk on Debian as root; anywhere else it says what is missing, and ends. */
export function requireLoadTools(): void {
  if (cpus().length < 2) fail('needs two cores: one for the server, one for the load')
  if (!runs('wrk', ['--version']) && process.getuid?.() === 0 && existsSync('/etc/debian_version')) {
    spawnSync('apt-get', ['update'], { stdio: 'ignore' })
    spawnSync('apt-get', ['install', '-y', 'wrk'], { stdio: 'ignore' })
  }
  if (!runs('wrk', ['--version'])) fail('needs wrk (apt-get install wrk)')
  if (!runs('taskset', ['--version'])) fail('needs taskset (apt-get install util-linux)')
}

/** Moves a running process, with all its threads, to one core. */
export function pin(pid: number, core: string): void {
  if (pid !== 0) spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', core, String(pid)], { stdio: 'ignore' })
}

/** Versions of what `bench/package.json` names. */
export function packages(): Record<string, string> {
  const bench = join(import.meta.dirname, '..')
  const { dependencies } = readPackage(bench)
  return Object.fromEntries(
    Object.keys(dependencies ?? {}).map((name) => {
      const folder = [bench, join(bench, '..')].map((root) => join(root, 'node_modules', name)).find(existsSync)
      return [name, folder === undefined ? 'missing' : readPackage(folder).version]
    }),
  )
}

/** CPU time of a process so far, in µs. */
export function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * ticksUs
}

/** Linux counts CPU time in hundredths of a second towards user space, whatever it counts in itself. */
const ticksUs = 10_000

function readPackage(folder: string): { version: string; dependencies?: Record<string, string> } {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as ReturnType<typeof readPackage>
}

/** `wrk --version` ends with 1 and still proves that it is there. */
function runs(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).error === undefined
}

function fail(reason: string): never {
  console.error(`The bench ${reason}.`)
  process.exit(1)
}
