// The feed in an SQLite file, by Node's own node:sqlite: a table that every process on the machine reads and writes.
import { base64url } from '#crypto'
import type { DatabaseSync } from 'node:sqlite'
import type { Feed, FeedStep, Notice } from '../feed.ts'
import { milliseconds, type Duration } from '../internal/duration.ts'
import { sleep, unref } from '../internal/timers.ts'

/** How far back the feed goes. */
export interface SqliteFeedOptions {
  /** How long notices are kept for readers that are away; after that they find a gap. Default `'1h'`. */
  retention?: Duration | undefined
}

/** So often a follower looks for what other processes wrote. A look costs some microseconds. */
const pollMs = 100
const patienceMs = 2_000
const stepAtMost = 500

interface Row {
  readonly n: number
  readonly tag: string
  readonly notice: string
}

/**
 * A feed in the table `feed` of `database`, a connection of its own; the file may be that of `sqliteStore`. For any number of processes on one
 * machine. A step comes at once when this process publishes, and every 100 ms; a look costs some microseconds.
 *
 * SQLite has one writer at a time, so numbers are given in the order of the commits, without holes, and a read sees everything that was committed
 * before it began. A notice survives a crash of the process at once, and a power cut after the next checkpoint (`synchronous=NORMAL`), as processes
 * do not. Each row has a random tag: a cursor of a history that a restored copy of the file does not have is a gap.
 *
 * A call rejects when another process holds the write lock for 2 s.
 */
export function sqliteFeed(database: DatabaseSync, o: SqliteFeedOptions = {}): Feed {
  const retentionMs = milliseconds('retention', o.retention ?? '1h')
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

  function read(since: string | undefined): Omit<FeedStep, 'asOf'> & { readonly isAll: boolean } {
    return transaction('BEGIN', () => {
      const first = oldest.get() as { n: number }
      const [place, tag] = since?.split('.') ?? [first.n - 1]
      // Where there is no row to compare with, the one after it must be there, or be the next that is written.
      const row = tag === '' ? { tag: Number(place) === first.n - 1 ? '' : null } : tagOf.get(Number(place))
      const isKept = since === undefined || (row !== undefined && row['tag'] === tag)
      const rows = after.all(isKept ? Number(place) : 0, stepAtMost) as unknown as Row[]
      const last = rows.at(-1)
      const cursor = last !== undefined ? `${last.n}.${last.tag}` : isKept && since ? since : `${first.n - 1}.`
      const notices = rows.map(({ notice }) => JSON.parse(notice) as Notice)
      return { notices, cursor, gap: !isKept, isAll: rows.length < stepAtMost }
    })
  }

  return {
    async publish(notice, { signal } = {}) {
      await patiently(signal, () =>
        transaction('BEGIN IMMEDIATE', () => {
          const at = Date.now()
          insert.run(base64url(crypto.getRandomValues(new Uint8Array(6))), at, JSON.stringify(notice))
          trim.run(at - retentionMs)
        }),
      )
      for (const wake of waiting) wake()
    },

    async *follow({ since, signal, now }) {
      let complete = -Infinity
      for (let cursor = since; !signal.aborted;) {
        const asOf = now()
        let step: ReturnType<typeof read>
        try {
          step = await patiently(signal, () => read(cursor))
        } catch (error) {
          if (signal.aborted) return
          throw error
        }
        const { isAll, ...found } = step
        cursor = found.cursor
        // What is not all is complete as of no instant but that of the last read that was.
        if (isAll) complete = asOf
        yield { ...found, asOf: complete }
        if (isAll) await news(signal)
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
      const timer = unref(setTimeout(wake, pollMs))
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
