// Two records of one session that differ: which is to be written where.
import type { SessionRecord } from 'holdfast'
import { dataChanged, identityChanged, identityOf, isPrintOf, isSame, type Print } from './print.ts'

/** A side of the move. */
export type Where = 0 | 1
export const source: Where = 0
export const target: Where = 1

export function opposite(where: Where): Where {
  return where === source ? target : source
}

export type Both = readonly [SessionRecord, SessionRecord]

export interface Reconciled {
  readonly where: Where
  readonly record: SessionRecord
  /** Both sides changed the same part, and a change was dropped. */
  readonly dropped: boolean
}

/**
 * `print` is of what both sides had when they were last the same; `null`: not known. What only one side changed stays. A greater epoch
 * wins, so that roles that were taken away stay away; then the greater version, then the later use, and last, or where it is `trusted`
 * more than all of that, the source.
 *
 * What is written has a greater version than what it is written over, so a process that read that one can't write over this.
 */
export function reconciled(both: Both, print: Print | null, trusted: boolean): Reconciled {
  const [a, b] = both
  const differInVersionOnly = isSame({ ...a, version: b.version }, b)
  const winner = trusted && !differInVersionOnly ? source : later(both)
  const [won, lost] = [both[winner], both[opposite(winner)]]
  const where = opposite(winner)
  const follows = won.version > lost.version && (print === null || differInVersionOnly || isPrintOf(print, lost))
  if (follows) return { where, record: won, dropped: false }

  const version = Math.max(won.version, lost.version) + 1
  if (trusted || print === null) return { where, record: { ...won, version }, dropped: !trusted }
  const data = dataChanged(print, won) ? won.data : lost.data
  const identity = identityChanged(print, won) || won.epoch > lost.epoch ? won : lost
  const { userId, credential, epoch } = identity
  const used = won.seenAt >= lost.seenAt ? won : lost
  const { seenAt, expiresAt } = used
  const merged = { ...won, userId, credential, identity: identity.identity, epoch, data, seenAt, expiresAt, version }
  return {
    where,
    record: merged,
    dropped:
      (dataChanged(print, lost) && lost.data !== data) ||
      (identityChanged(print, lost) && identityOf(lost) !== identityOf(merged)),
  }
}

function later([a, b]: Both): Where {
  const order = a.epoch - b.epoch || a.version - b.version || a.seenAt - b.seenAt
  return order >= 0 ? source : target
}
