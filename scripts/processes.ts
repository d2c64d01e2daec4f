// Which processes outlive the one that started them. Looks at /proc, so on Linux only; elsewhere it finds none.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

interface Process {
  readonly pid: number
  readonly parent: number
  readonly session: number
  readonly state: string
  /** Tells a process from a later one with the same pid. */
  readonly startedAt: string
}

const lookEveryMs = 100
const graceMs = 1000

/**
 * Follows everything that `root` starts, also what leaves its process group; `end` kills and names what is left.
 * A daemon that cuts all its ties between two looks goes unseen, so a test starts its servers in the foreground.
 */
export function outliving(root: number): { end(): Promise<readonly string[]> } {
  const seen = new Map<number, string>()
  const look = (): void => {
    for (const { pid, parent, session, startedAt } of processes()) {
      if (pid !== root && (parent === root || session === root || seen.has(parent))) seen.set(pid, startedAt)
    }
  }
  const alive = (): readonly Process[] =>
    processes().filter(({ pid, state, startedAt }) => state !== 'Z' && seen.get(pid) === startedAt)
  const timer = setInterval(look, lookEveryMs)

  return {
    async end() {
      clearInterval(timer)
      look()
      for (let waitedMs = 0; waitedMs < graceMs && alive().length > 0; waitedMs += lookEveryMs) await sleep(lookEveryMs)
      return alive().map(({ pid }) => {
        const name = `${pid} ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim().slice(0, 200)}`
        process.kill(pid, 'SIGKILL')
        return name
      })
    },
  }
}

function processes(): readonly Process[] {
  if (!existsSync('/proc/self/stat')) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => parse(Number(pid), read(`/proc/${pid}/stat`)))
    .filter((process) => process !== null)
}

function parse(pid: number, stat: string): Process | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (stat === '') return null
  return {
    pid,
    state: fields[0]!,
    parent: Number(fields[1]),
    session: Number(fields[3]),
    startedAt: fields[19]!,
  }
}

/** A process may be gone by the time it is looked at. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
