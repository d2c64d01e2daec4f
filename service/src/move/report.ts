// What `holdfast move` says while it works, and in the end. To stderr, a line of its own on a terminal.
import type { Mover } from './mover.ts'
import type { Progress } from './pair.ts'

export interface Report {
  say(line: string): void
  progress(progress: Progress): void
  /** Something failed and is tried again; once for each cause. */
  trouble(error: unknown): void
}

const barWidth = 30
const oftenMs = 100
const seldomMs = 5_000

export function report(out: NodeJS.WriteStream): Report {
  const everyMs = out.isTTY ? oftenMs : seldomMs
  let saidAt = performance.now()
  let lastTrouble = ''
  let isOpen = false

  function say(line: string): void {
    out.write(`${isOpen ? '\r\u001B[K' : ''}${line}\n`)
    isOpen = false
  }

  return {
    say,
    progress(progress) {
      if (performance.now() - saidAt < everyMs) return
      saidAt = performance.now()
      const line = described(progress)
      if (!out.isTTY) return say(line)
      out.write(`\r\u001B[K${line}`)
      isOpen = true
    },
    trouble(error) {
      const message = error instanceof Error ? error.message : String(error)
      if (message === lastTrouble) return
      lastTrouble = message
      say(`trying again: ${message}`)
    },
  }
}

function described(progress: Progress): string {
  if (progress.step === 'reading') return `reading: ${number(progress.read)} sessions`
  const { done, of } = progress
  const full = Math.round((barWidth * done) / of)
  return `copying [${'#'.repeat(full).padEnd(barWidth, '.')}] ${number(done)} of ${number(of)}`
}

/** What came of it, line by line. */
export function summary(
  { counts, ended, clients }: Mover,
  failed: number,
  seconds: number,
): readonly (readonly [string, string])[] {
  const lines: [string, number][] = [
    ['copied to the target', counts.copied],
    ['copied to the source', counts.copiedBack],
    ['already there', counts.alike],
    ['changed meanwhile', counts.changed],
    ['changed on both sides', counts.dropped],
    ['ended meanwhile', ended],
    ['expired', counts.expired],
    ['failed', failed],
    ['clients and keys', clients],
    ['bytes', counts.bytes],
  ]
  return [...lines.map(([what, count]) => [what, number(count)] as const), ['seconds', seconds.toFixed(1)]]
}

function number(n: number): string {
  return n.toLocaleString('en')
}
