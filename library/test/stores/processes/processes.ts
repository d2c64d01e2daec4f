// Other processes for the tests of stores.
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** Starts one of the programs beside this file. What it says goes to `said`, its complaints to ours. */
function startProcess(program: string, args: readonly string[]): { child: ChildProcess; said: () => string } {
  const file = fileURLToPath(new URL(program, import.meta.url))
  const child = spawn(process.execPath, ['--conditions=source', file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return { child, said: () => output }
}

/** Runs it to its end; rejects when that is not a good one. */
export async function runProcess(program: string, args: readonly string[]): Promise<void> {
  const { child } = startProcess(program, args)
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${program} ended with ${code}`)
}

/** Waits until it has said `lines` lines, then `kill -9`; answers all that it said whole. */
async function killAfter({ child, said }: ReturnType<typeof startProcess>, lines: number): Promise<readonly string[]> {
  const closed = once(child, 'close')
  const tooSoon = closed.then(() => assert.fail(`it ended by itself, after: ${said()}`))
  while (said().split('\n').length <= lines) await Promise.race([once(child.stdout!, 'data'), tooSoon])
  tooSoon.catch(() => {})
  child.kill('SIGKILL')
  await closed
  return said().split('\n').slice(0, -1)
}

export interface Written {
  /** Sessions whose ending was acknowledged. */
  readonly ended: readonly string[]
  /** Sessions that were acknowledged, and whose ending had not begun. */
  readonly live: readonly string[]
}

/** What two processes that started and ended sessions on a store had been told when they were killed. */
export async function writtenUntilKilled(url: string): Promise<Written> {
  const lines = await Promise.all(
    ['anna', 'bert'].map((name) => killAfter(startProcess('writer.ts', [url, name]), 150)),
  )
  const said = (sign: string) =>
    lines.map((own) => own.filter((line) => line.startsWith(sign)).map((line) => line.slice(1)))
  const ended = said('-').flat()
  // The ending of the last one of each may have happened without word of it.
  const live = said('+').flatMap((own) => own.slice(0, -1))
  return { ended, live: live.filter((id) => !ended.includes(id)) }
}
