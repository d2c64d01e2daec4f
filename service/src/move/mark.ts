// What a move leaves in each store, beside the clients: which store it is, and how far a move into it had come.
import { randomUUID } from 'node:crypto'
import type { Cursor, SessionRecord, Store } from 'holdfast'
import { ownRecord, recordId } from '../own-record.ts'

/** From where a move goes on. */
export interface Place {
  /** Up to where the feeds of source and target were heard, and what they said was done on both sides. */
  readonly cursors: readonly [Cursor | null, Cursor | null]
  /** Ids of the clients and keys that both sides had: one that is gone was removed. */
  readonly clients: readonly string[]
}

interface Mark {
  /** Of this store alone, whatever URL leads to it. */
  readonly store: string
  /** By the store that is moved into this one. */
  readonly places: Readonly<Record<string, Place>>
}

const markName = '#move'
export const moveMarkId = recordId(markName)

/** Which store it is; marked as such when it was not. */
export async function nameOf(clients: Store): Promise<string> {
  return (await change(clients, (mark) => mark)).store
}

/** Whether it still is the store it was, and not an empty one. */
export async function isMarked(clients: Store, name: string): Promise<boolean> {
  return (await readMark(clients))?.mark.store === name
}

/** `null`: no move from there has begun. */
export async function readPlace(clients: Store, from: string): Promise<Place | null> {
  return (await readMark(clients))?.mark.places[from] ?? null
}

export async function writePlace(clients: Store, from: string, place: Place): Promise<void> {
  await change(clients, ({ store, places }) => ({ store, places: { ...places, [from]: place } }))
}

/** Marks a store that lost everything as the one that it was. */
export async function restoreName(clients: Store, name: string): Promise<void> {
  await change(clients, ({ places }) => ({ store: name, places }))
}

async function readMark(clients: Store): Promise<{ mark: Mark; record: SessionRecord } | null> {
  const record = await clients.get(moveMarkId)
  return record === null ? null : { mark: JSON.parse(record.identity) as Mark, record }
}

async function change(clients: Store, make: (mark: Mark) => Mark): Promise<Mark> {
  for (;;) {
    const found = await readMark(clients)
    const before = found?.mark ?? { store: randomUUID(), places: {} }
    const mark = make(before)
    if (found !== null && mark === before) return mark
    const record = found?.record ?? null
    if (await clients.put(ownRecord(markName, mark, record), record?.version ?? null)) return mark
  }
}
