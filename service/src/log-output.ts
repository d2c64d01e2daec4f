// Where log lines go: gathered and written together, since a write per line costs more than the line.
import { write } from 'node:fs'

export interface LogOutput {
  write(line: string): void
  /** Resolves when all is written, or nobody reads it, or after a second. */
  close(): Promise<void>
}

const gatherMs = 100
const gatherLength = 8_192
/** What nobody reads must not fill the memory; lines beyond are dropped. */
const heldLength = 8_388_608
const lastChanceMs = 1_000

/**
 * Writes to a file descriptor without ever blocking or failing its caller: a reader that stalls or dies costs lines of the
 * log, not sessions. (What pino brings along tries again for ever, in a blocking way, when its reader is gone at the end.)
 */
export function logOutput(fd: number): LogOutput {
  let held = ''
  let writing: Promise<void> | null = null
  let broken = false
  const timer = setInterval(flush, gatherMs).unref()

  function flush(): void {
    if (writing !== null || held === '' || broken) return
    const bytes = Buffer.from(held)
    held = ''
    writing = writeAll(bytes).finally(() => {
      writing = null
      if (held.length >= gatherLength) flush()
    })
  }

  async function writeAll(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length && !broken;) {
      const { error, written } = await writeSome(fd, bytes, at)
      at += written
      if (error === null) continue
      // The reader is slow; anything else means that it is gone.
      if (error.code === 'EAGAIN') await pause()
      else broken = true
    }
  }

  return {
    write(line) {
      if (broken || held.length + line.length > heldLength) return
      held += line
      if (held.length >= gatherLength) flush()
    },
    async close() {
      clearInterval(timer)
      const late = new Promise<void>((resolve) => {
        setTimeout(resolve, lastChanceMs).unref()
      })
      const isLeft = () => !broken && (writing !== null || held !== '')
      const rest = async () => {
        while (isLeft()) {
          flush()
          await writing
        }
      }
      await Promise.race([rest(), late])
    },
  }
}

function writeSome(
  fd: number,
  bytes: Buffer,
  at: number,
): Promise<{ error: NodeJS.ErrnoException | null; written: number }> {
  return new Promise((resolve) => {
    write(fd, bytes, at, bytes.length - at, null, (error, written) =>
      resolve({ error, written: error === null ? written : 0 }),
    )
  })
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 10)
  })
}
