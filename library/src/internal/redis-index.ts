// The user index in Redis: who has which sessions, in a fixed number of small sorted sets.
import { readBase64url, readUtf8, room, utf8Length, writeBase64url, writeUtf8 } from '#bytes'
import { sha256 } from '#crypto'

/** An id of 22 characters of base64url is kept as 16 bytes, any other as text. */
const rawId = 0
const textId = 1
const tagBytes = 4

/** Where a user's sessions are listed: the bucket's number in four hex digits, and what the user's entries in it begin with. */
export interface Place {
  readonly bucket: string
  readonly tag: Uint8Array
}

/**
 * By five bytes of SHA-256: of the first two 15 bits name the bucket, three tell apart the users in it. Users who share all of that are told apart
 * by their records. The number of buckets is part of the format: docs/decisions/004-redis-user-index.md says why it is 32,768.
 */
export async function placeOf(userId: string): Promise<Place> {
  const hash = await sha256(userId)
  const bytes = room(6)
  writeBase64url(bytes, hash.slice(0, 8), 0, 6)
  const bucket = ((bytes[0]! * 256 + bytes[1]!) >> 1).toString(16).padStart(4, '0')
  return { bucket, tag: bytes.subarray(2, 5) }
}

/** The entry of session `id`: the tag, the kind of id, the id. */
export function entryOf({ tag }: Place, id: string): Uint8Array {
  const raw = room(tagBytes + 16)
  if (id.length === 22 && writeBase64url(raw, id, tagBytes, 16)) {
    raw.set(tag)
    raw[3] = rawId
    return raw
  }
  const text = room(tagBytes + utf8Length(id))
  text.set(tag)
  text[3] = textId
  writeUtf8(text, id, tagBytes)
  return text
}

/** The id in an entry, or `null` when it is another user's. */
export function idIn(entry: Uint8Array, { tag }: Place): string | null {
  if (entry[0] !== tag[0] || entry[1] !== tag[1] || entry[2] !== tag[2]) return null
  const read = entry[3] === rawId ? readBase64url : readUtf8
  return read(entry, tagBytes, entry.length)
}
