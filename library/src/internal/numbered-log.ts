// A log in a table: rows with numbers that have no holes, each with a tag of its own and that of the row before it.
import type { Cursor, Notice } from '../feed.ts'

/** The head of the log, with a row after the cursor, or with none. Databases give a large number as text. */
export interface LogRow {
  readonly headN: string | number
  readonly headTag: string
  readonly n: string | number | null
  readonly prev: string | null
  readonly tag: string | null
  readonly notice: string | null
}

/** What is after `cursor`. `rowsAfter` answers, of one snapshot and in order, `atMost` rows after a number, or one that has the head alone. */
export async function readLog(
  rowsAfter: (n: number) => Promise<readonly LogRow[]>,
  atMost: number,
  cursor: Cursor | undefined,
): Promise<{ notices: readonly Notice[]; cursor: Cursor; gap: boolean; isAll: boolean }> {
  const [, place = '0', tag] = /^(\d{1,15})\.(.*)$/s.exec(cursor ?? '') ?? []
  let rows = await rowsAfter(Number(place))
  const [first] = rows as [LogRow]
  // The row after the cursor names the tag of the row before it; without one, the head is at the cursor. Neither holds when rows were removed,
  // or when the history is another one: then all that is there is read again.
  const follows = first.n === null ? first.headTag === tag : Number(first.n) === Number(place) + 1 && first.prev === tag
  const gap = cursor !== undefined && !follows
  if (gap) rows = await rowsAfter(0)
  const last = rows.at(-1)!
  return {
    notices: rows.flatMap(({ notice }) => (notice === null ? [] : [JSON.parse(notice) as Notice])),
    cursor: last.n === null ? `${last.headN}.${last.headTag}` : `${last.n}.${last.tag}`,
    gap,
    isAll: rows.length < atMost,
  }
}
