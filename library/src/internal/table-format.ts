// The format of a table of sessions, as its comment says it: what a newer Holdfast made is refused, never half understood.
import { ConfigError } from '../errors.ts'

const format = 1

/** Of a table that is made. */
export const formatComment = `Holdfast sessions, format ${format}`

/**
 * A table whose comment says no format is taken for one that we know: somebody else may have put their own words there.
 * @throws ConfigError when a newer Holdfast made it
 */
export function assertKnownFormat(who: string, table: string, comment: unknown): void {
  const found = /^Holdfast sessions, format (\d+)/.exec(String(comment))?.[1]
  if (found === undefined || Number(found) <= format) return
  throw new ConfigError(
    `${who}: the table ${table} was made by a newer Holdfast (format ${found}; this one knows ${format}): upgrade Holdfast, or use another table`,
  )
}
