// `holdfast migrate`: the tables of the store and of the feed, made or printed.
import { parseArgs } from 'node:util'
import { feedMigration, storeMigration } from '../engines/migration.ts'
import { readSettings } from '../settings.ts'
import { print, type Command } from './command.ts'

export const migrate: Command = {
  summary: 'make the tables of the store, or print their SQL',
  help: `holdfast migrate [--store <url>] [--feed <url>]             makes what is missing
holdfast migrate [--store <url>] [--feed <url>] --print     prints the SQL instead, and opens nothing

For HOLDFAST_STORE and HOLDFAST_FEED, unless the options name others: such as the URL of a user who may make tables, which
the service's own may not. Safe to run again, and while the service runs.`,

  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: { store: { type: 'string' }, feed: { type: 'string' }, print: { type: 'boolean' } },
    })
    const { store, feed } = readSettings({
      ...process.env,
      ...(values.store === undefined ? {} : { HOLDFAST_STORE: values.store }),
      ...(values.feed === undefined ? {} : { HOLDFAST_FEED: values.feed }),
    })
    const places = [{ shown: store.shown, migration: await storeMigration(store) }]
    if (feed !== null) places.push({ shown: feed.shown, migration: await feedMigration(feed) })
    for (const { shown, migration } of places) {
      if (values.print === true) {
        print(`-- ${shown}${migration === null ? ': needs no SQL' : `\n${migration.sql.trim()}`}`)
      } else if (migration === null) print(`${shown} needs no migration`)
      else {
        const made = await migration.apply()
        print(`${shown} has all its tables${made.length === 0 ? '' : `; made ${made.join(', ')}`}`)
      }
    }
    return 0
  },
}
