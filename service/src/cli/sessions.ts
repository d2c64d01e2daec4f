// `holdfast sessions`: look at sessions and end them, by id or by user, without a token.
import { parseArgs } from 'node:util'
import type * as z from 'zod'
import { createSessions, type Feed, type ScannableStore, type SessionRecord, type Sessions } from 'holdfast'
import { hashSecret } from '../clients.ts'
import { keptAdminSecret } from '../data-folder.ts'
import { logIds } from '../logs.ts'
import { shown, type AnyData } from '../routes/shown.ts'
import { sessionId, userId } from '../schemas.ts'
import { StartError } from '../start-error.ts'
import { print, table, UsageError, type Command } from './command.ts'
import { openShared } from './open.ts'

const defaultLimit = 50
const pageSize = 100

export const sessions: Command = {
  summary: 'list, show and end sessions',
  help: `holdfast sessions list [--user <user>] [--limit <n>]    ${defaultLimit} unless told otherwise
holdfast sessions show <id>                             everything but the data, of which it names the sections
holdfast sessions end <id>
holdfast sessions end --user <user>
holdfast sessions end --all

What is ended is refused by every replica within HOLDFAST_MAX_STALENESS, and by whoever follows the feed.
Works on the store of HOLDFAST_STORE, or the one in HOLDFAST_DATA, while the service runs.`,

  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { user: { type: 'string' }, limit: { type: 'string' }, all: { type: 'boolean' } },
      allowPositionals: true,
    })
    const [action, id, ...rest] = positionals
    if (rest.length > 0) throw new UsageError(`there is too much on the line: ${rest.join(' ')}`)
    const user = values.user === undefined ? null : checked(userId, '--user', values.user)
    switch (action) {
      case 'list':
        if (id !== undefined || values.all === true) throw new UsageError('list takes --user and --limit')
        return list(user, checkedLimit(values.limit))
      case 'show':
        return show(checked(sessionId, 'id', id))
      case 'end':
        if ([id !== undefined, user !== null, values.all === true].filter(Boolean).length !== 1) {
          throw new UsageError('end takes one of: the id of a session, --user <user>, --all')
        }
        if (values.all === true) return endAll()
        return user === null ? end(checked(sessionId, 'id', id)) : endUser(user)
      default:
        throw new UsageError('expected list, show or end')
    }
  },
}

async function list(user: string | null, limit: number): Promise<number> {
  return withSessions(async (_, store) => {
    const records = user === null ? await firstOf(store, limit) : (await store.listByUser(user)).slice(0, limit)
    const rows = records.map(({ id, userId: whose, createdAt, seenAt, expiresAt }) => {
      return [id, printable(whose ?? '(guest)'), ...[createdAt, seenAt, expiresAt].map(instant)]
    })
    print(table([['SESSION', 'USER', 'STARTED', 'LAST SEEN', 'EXPIRES'], ...rows]))
    return 0
  })
}

async function show(id: string): Promise<number> {
  return withSessions(async (all, store, logId) => {
    const session = await all.get(id)
    const record = session === null ? null : await store.get(id)
    if (session === null || record === null) throw new StartError(`there is no live session ${id}`)
    const { authenticatedAt, createdAt, seenAt, expiresAt, endsAt, ...rest } = shown(session)
    const instants = {
      authenticatedAt: authenticatedAt === null ? null : instant(authenticatedAt),
      createdAt: instant(createdAt),
      lastSeenAt: instant(seenAt),
      expiresAt: instant(expiresAt),
      endsAt: instant(endsAt),
    }
    const sections = Object.keys(JSON.parse(record.data) as object)
    print(JSON.stringify({ ...rest, ...instants, sections, idInLog: logId(id) }, null, 2))
    return 0
  })
}

async function end(id: string): Promise<number> {
  return withSessions(async (all) => {
    if (!(await all.end(id))) throw new StartError(`there is no live session ${id}`)
    return report(1)
  })
}

async function endUser(user: string): Promise<number> {
  return withSessions(async (all) => report(await all.endUser(user)))
}

async function endAll(): Promise<number> {
  return withSessions(async (_, store, __, feed) => {
    let ended = 0
    for await (const page of pages(store)) {
      const ids = page.map(({ id }) => id)
      // Published before it is deleted, as every ending is.
      await feed.publish({ kind: 'ended', ids, reason: 'ended' })
      ended += (await store.delete(ids)).length
    }
    return report(ended)
  })
}

function report(ended: number): number {
  print(`ended ${ended} session${ended === 1 ? '' : 's'}`)
  return 0
}

async function firstOf(store: ScannableStore, limit: number): Promise<readonly SessionRecord[]> {
  const found = new Map<string, SessionRecord>()
  for await (const page of pages(store)) {
    // A walk may come by a session twice.
    for (const record of page) found.set(record.id, record)
    if (found.size >= limit) break
  }
  return [...found.values()].slice(0, limit)
}

async function* pages(store: ScannableStore): AsyncGenerator<readonly SessionRecord[]> {
  let cursor: string | undefined
  do {
    const page = await store.scan({ cursor, limit: pageSize })
    if (page.records.length > 0) yield page.records
    cursor = page.cursor ?? undefined
  } while (cursor !== undefined)
}

/** `logId` answers `null` where the admin secret, its key, is not at hand. */
type Work = (
  all: Sessions<AnyData>,
  store: ScannableStore,
  logId: (id: string) => string | null,
  feed: Feed,
) => Promise<number>

async function withSessions(work: Work): Promise<number> {
  const { engine, feed, settings, close } = await openShared({ make: false })
  const all = createSessions({ store: engine.sessions, feed, lifetime: settings.lifetime })
  try {
    const secret = keptAdminSecret(settings)
    return await work(all, engine.sessions, secret === null ? () => null : logIds(hashSecret(secret)), feed)
  } finally {
    all.close()
    await close()
  }
}

function checked(schema: z.ZodType<string>, name: string, text: string | undefined): string {
  const result = schema.safeParse(text)
  if (result.success) return result.data
  throw new UsageError(`${name}: ${text === undefined ? 'is missing' : result.error.issues[0]!.message}`)
}

function checkedLimit(text: string | undefined): number {
  if (text === undefined) return defaultLimit
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new UsageError('--limit: expected a number from 1 on')
  return Number(text)
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}

/** A user's id is somebody else's text, and this goes to a terminal. */
function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}]/gu, '?')
}
