// `holdfast import`: sessions of express-session, so that nobody is signed out.
import { parseArgs } from 'node:util'
import { passportUser, userIdOf } from 'holdfast/compat/express-store'
import { openEngine } from '../engines/engine.ts'
import { parseStoreUrl, type StoreUrl } from '../engines/store-url.ts'
import { checkFormat, readFormat } from '../format.ts'
import { importSessions } from '../import/import.ts'
import { connectPgSimpleSource, connectRedisSource, type Source } from '../import/sources.ts'
import { report } from '../move/report.ts'
import { StartError } from '../start-error.ts'
import { print, table, UsageError, type Command } from './command.ts'

export const importCommand: Command = {
  summary: 'bring sessions of express-session over, so that nobody is signed out',
  help: `holdfast import --from redis://<host>:<port>                --format connect-redis     --to <url>
holdfast import --from postgres://<host>:<port>/<database>  --format connect-pg-simple --to <url>

Copies the live sessions of an application on express-session to where holdfast/compat/express-session finds them, by the
cookies that browsers have. URLs are those of HOLDFAST_STORE.

  --prefix <text>         what the keys of connect-redis begin with; default sess:
  --table <name>          the table of connect-pg-simple, as <table> or <schema>.<table>; default session
  --user-field <path>     where a session says whose it is, such as user.id; default passport.user, or its id

Stop the old application first, then import, then start the new one: what is signed out at the one while it lives on at
the other would come back. Nothing is removed. When it was interrupted, run it again: what is there already is left as it is.
docs/guide/migrate.md has the whole way.`,

  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        from: { type: 'string' },
        to: { type: 'string' },
        format: { type: 'string' },
        prefix: { type: 'string' },
        table: { type: 'string' },
        'user-field': { type: 'string' },
      },
      allowPositionals: true,
    })
    if (positionals.length > 0) throw new UsageError('import takes no arguments but its options')
    const { format } = values
    if (format !== 'connect-redis' && format !== 'connect-pg-simple')
      throw new UsageError('--format: expected connect-redis or connect-pg-simple')
    if (values.prefix !== undefined && format !== 'connect-redis')
      throw new UsageError('--prefix: only connect-redis has one')
    if (values.table !== undefined && format !== 'connect-pg-simple')
      throw new UsageError('--table: only connect-pg-simple has one')
    const from = checkedStore('--from', values.from)
    const to = checkedStore('--to', values.to)
    if (to.kind === 'memory') throw new UsageError('--to: memory: is inside of the service, and gone with it')
    const field = values['user-field']
    const userOf = field === undefined ? passportUser : at(field.split('.'))

    const { say, progress, trouble } = report(process.stderr)
    const began = performance.now()
    const source = await opened(from, format, values.prefix ?? 'sess:', values.table ?? 'session')
    try {
      const engine = await openEngine(to).catch(inOurWords)
      try {
        await readFormat(engine.clients)
          .then((found) => checkFormat(found ?? 0))
          .catch(inOurWords)
        say(`importing: ${from.shown} to ${to.shown}`)
        const counts = await importSessions({
          from: source,
          to: engine.sessions,
          userOf,
          progress: (read) => progress({ step: 'reading', read }),
          trouble,
        })
        const lines: [string, number][] = [
          ['imported', counts.imported],
          ['already there', counts.alreadyThere],
          ['of nobody', counts.guests],
          ['expired', counts.expired],
          ['failed', counts.failed],
        ]
        const seconds = ((performance.now() - began) / 1000).toFixed(1)
        print(table([...lines.map(([what, n]) => [what, n.toLocaleString('en')]), ['seconds', seconds]]))
        return counts.failed === 0 ? 0 : 1
      } finally {
        await engine.close()
      }
    } finally {
      await source.close()
    }
  },
}

function opened(from: StoreUrl, format: string, prefix: string, sessionTable: string): Promise<Source> {
  if (format === 'connect-redis') {
    if (from.kind !== 'redis') throw new UsageError('--from: connect-redis is read from redis://<host>:<port>')
    return connectRedisSource(from, prefix)
  }
  if (from.kind !== 'postgres')
    throw new UsageError('--from: connect-pg-simple is read from postgres://<host>:<port>/<database>')
  return connectPgSimpleSource(from, sessionTable)
}

/** What is wrong never repeats the text, which may hold a password. */
function checkedStore(option: string, text: string | undefined): StoreUrl {
  if (text === undefined) throw new UsageError(`${option} is missing, such as ${option} redis://127.0.0.1:6379`)
  try {
    return parseStoreUrl(text)
  } catch (error) {
    throw new UsageError(`${option}: ${(error as Error).message}`)
  }
}

function at(path: readonly string[]): (session: object) => string | null {
  return (session) => {
    let value: unknown = session
    for (const name of path) value = (value as Record<string, unknown> | null | undefined)?.[name]
    return userIdOf(value)
  }
}

/** Engines name the setting that their URL comes from elsewhere. */
function inOurWords(error: unknown): never {
  if (!(error instanceof StartError)) throw error
  throw new StartError(
    error.problems.map((problem) => problem.replaceAll('HOLDFAST_STORE', '--to')),
    error,
  )
}
