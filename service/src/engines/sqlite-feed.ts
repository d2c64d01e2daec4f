// The feed of a service on SQLite: a table in the same file, which every process on the machine reads and writes.
import { randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Feed, FeedStep, Notice } from 'holdfast'

/** So often a follower looks for what other processes wrote. A look costs some microseconds. */
const pollMs = 100
const patienceMs = 2_000
/** Whoever is away for longer finds a gap. */
const retentionMs = 3_600_000
const stepAtMost = 500

interface Row {
  readonly n: number
  readonly tag: string
  readonly notice: string
}

/**
 * On a connection of its own. SQLite has one writer at a time, so numbers are given in the order of the commits, without holes, and
 * a read sees everything that was committed before it began. Each row has a random tag: a cursor of a history that a restored
 * copy of the file does not have is a gap.
 */
export function sqliteFeed(database: DatabaseSync): Feed {
  database.exec(`
    PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS feed (
      n INTEGER PRIMARY KEY AUTOINCREMENT, tag TEXT NOT NULL, at INTEGER NOT NULL, notice TEXT NOT NULL
    ) STRICT;
    PRAGMA busy_timeout = 0`)
  const insert = database.prepare('INSERT INTO feed (tag, at, notice) VALUES (?, ?, ?)')
  // Some of the oldest at each publish, so that nobody has to remove, nor look at, many. The last two stay, so that whoever has
  // read all finds its place whatever the age.
  const trim = database.prepare(`
    DELETE FROM feed WHERE n IN (SELECT n FROM feed ORDER BY n LIMIT 10) AND at < ? AND n < (SELECT max(n) FROM feed) - 1`)
  const after = database.prepare('SELECT n, tag, notice FROM feed WHERE n > ? ORDER BY n LIMIT ?')
  const tagOf = database.prepare('SELECT tag FROM feed WHERE n = ?')
  // The oldest number; where there is no row, that of the next one, which SQLite itself remembers.
  const oldest = database.prepare(`
    SELECT coalesce((SELECT min(n) FROM feed), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'feed'), 1) AS n`)
  const waiting = new Set<() => void>()

  /** In one snapshot. */
  function transaction<T>(begin: 'BEGIN' | 'BEGIN IMMEDIATE', work: () => T): T {
    database.exec(begin)
    try {
      const result = work()
      database.exec('COMMIT')
      return result
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK')
      throw error
    }
  }

  function read(since: string | undefined, asOf: number): FeedStep {
    return transaction('BEGIN', () => {
      const first = oldest.get() as { n: number }
      const [place, tag] = since?.split('.') ?? [first.n - 1]
      // Where there is no row to compare with, the one after it must be there, or be the next that is written.
      const row = tag === '' ? { tag: Number(place) === first.n - 1 ? '' : null } : tagOf.get(Number(place))
      const isKept = since === undefined || (row !== undefined && row['tag'] === tag)
      const rows = after.all(isKept ? Number(place) : 0, stepAtMost) as unknown as Row[]
      const last = rows.at(-1)
      const cursor = last !== undefined ? `${last.n}.${last.tag}` : isKept && since ? since : `${first.n - 1}.`
      return { notices: rows.map(({ notice }) => JSON.parse(notice) as Notice), cursor, gap: !isKept, asOf }
    })
  }

  return {
    async publish(notice, { signal } = {}) {
      await patiently(signal, () =>
        transaction('BEGIN IMMEDIATE', () => {
          const at = Date.now()
          insert.run(randomBytes(6).toString('base64url'), at, JSON.stringify(notice))
          trim.run(at - retentionMs)
        }),
      )
      for (const wake of waiting) wake()
    },

    async *follow({ since, signal, now }) {
      for (let cursor = since; !signal.aborted;) {
        const asOf = now()
        let step: FeedStep
        try {
          step = await patiently(signal, () => read(cursor, asOf))
        } catch (error) {
          if (signal.aborted) return
          throw error
        }
        cursor = step.cursor
        yield step
        if (step.notices.length < stepAtMost) await news(signal)
      }
    },
  }

  /** Resolves when this process published, the poll is due, or nobody follows any more. */
  function news(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        waiting.delete(wake)
        clearTimeout(timer)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, pollMs)
      timer.unref()
      waiting.add(wake)
      signal.addEventListener('abort', wake)
      if (signal.aborted) wake()
    })
  }
}

/** Tries again while others hold the lock, and the process works in between. Rejects when nobody wants it any more. */
async function patiently<T>(signal: AbortSignal | undefined, work: () => T): Promise<T> {
  for (const giveUpAt = performance.now() + patienceMs; ;) {
    try {
      return work()
    } catch (error) {
      if (!isBusy(error) || performance.now() > giveUpAt || signal?.aborted === true) throw error
      await sleep(1 + Math.random() * 9)
    }
  }
}

/** SQLITE_BUSY, with any extended code. */
function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === 5
}
