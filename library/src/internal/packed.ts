// A session record in few bytes, for engines where a byte is memory: docs/decisions/003-redis-record-layout.md draws the layout.
import { readBase64url, readUtf8, room, utf8Length, writeBase64url, writeUtf8 } from '#bytes'
import { ConfigError } from '../errors.ts'
import type { SessionRecord } from '../store.ts'

/** The first byte of a packed record. A layout that this code can't read gets a greater one. */
const packedFormat = 1
/** Format, flags, version (4 bytes), expiresAt (6 bytes): what a script inside the engine reads. The user follows. */
export const headBytes = 12

/** The credential is 43 characters of base64url, kept as the 32 bytes they stand for. */
const rawCredential = 0x80
/** The other instants are no small distance before `expiresAt`, and are kept as doubles. */
const oddInstants = 0x40
const scratch = room(32)

export interface Packed {
  readonly bytes: Uint8Array
  /** How many bytes after the head hold the user. Equal bytes, equal user. */
  readonly userBytes: number
}

/** `span`, from 0 to 63, is kept for the engine's own use in the low bits of the second byte. */
export function pack(record: SessionRecord, span: number): Packed {
  const { userId, credential, identity, data, createdAt, seenAt, expiresAt } = record
  if (!Number.isInteger(expiresAt) || expiresAt < 0 || expiresAt >= 2 ** 48) {
    throw new RangeError(
      `expiresAt must be whole milliseconds since the epoch, before the year 10889, not ${expiresAt}`,
    )
  }
  const raw = credential.length === 43 && writeBase64url(scratch, credential, 0, 32)
  const odd = !isDistance(expiresAt - createdAt) || !isDistance(expiresAt - seenAt)
  const userLength = userId === null ? 0 : utf8Length(userId)
  const credentialLength = raw ? 32 : utf8Length(credential)
  const identityLength = utf8Length(identity)
  const dataLength = utf8Length(data)
  const numbers = headBytes + 5 * 8 + 2 * 8
  const bytes = room(numbers + userLength + credentialLength + identityLength + dataLength)

  bytes[0] = packedFormat
  bytes[1] = span | (raw ? rawCredential : 0) | (odd ? oddInstants : 0)
  writeUint(bytes, 2, 4, record.version)
  writeUint(bytes, 6, 6, expiresAt)
  let at = writeVarint(bytes, headBytes, userId === null ? 0 : userLength + 1)
  if (userId !== null) writeUtf8(bytes, userId, at)
  at += userLength
  const userBytes = at - headBytes
  if (odd) {
    at = writeDouble(bytes, writeDouble(bytes, at, createdAt), seenAt)
  } else {
    at = writeVarint(bytes, writeVarint(bytes, at, expiresAt - createdAt), expiresAt - seenAt)
  }
  at = writeVarint(bytes, at, record.epoch)
  if (raw) {
    bytes.set(scratch, at)
  } else {
    at = writeVarint(bytes, at, credentialLength)
    writeUtf8(bytes, credential, at)
  }
  at += credentialLength
  at = writeVarint(bytes, at, identityLength)
  writeUtf8(bytes, identity, at)
  at += identityLength
  writeUtf8(bytes, data, at)
  return { bytes: bytes.subarray(0, at + dataLength), userBytes }
}

/**
 * The record `id`, or `null` when it has expired at `now`.
 * @throws ConfigError when a newer Holdfast packed it, Error when the bytes are no whole record
 */
export function unpack(id: string, bytes: Uint8Array, now: number): SessionRecord | null {
  if (bytes.length > 0 && bytes[0] !== packedFormat) throw unknownFormat(bytes[0])
  if (bytes.length < headBytes) throw corrupt()
  const expiresAt = readUint(bytes, 6, 6)
  if (expiresAt <= now) return null

  const flags = bytes[1]!
  position = headBytes
  const userLength = readVarint(bytes)
  const userId = userLength === 0 ? null : readText(bytes, userLength - 1)
  const odd = (flags & oddInstants) !== 0
  const createdAt = odd ? readDouble(bytes) : expiresAt - readVarint(bytes)
  const seenAt = odd ? readDouble(bytes) : expiresAt - readVarint(bytes)
  const epoch = readVarint(bytes)
  let credential: string
  if ((flags & rawCredential) !== 0) {
    const start = advance(bytes, 32)
    credential = readBase64url(bytes, start, position)
  } else {
    credential = readText(bytes, readVarint(bytes))
  }
  const identity = readText(bytes, readVarint(bytes))
  const data = readUtf8(bytes, position, bytes.length)
  return { id, userId, credential, identity, data, createdAt, seenAt, expiresAt, epoch, version: readUint(bytes, 2, 4) }
}

export function unknownFormat(format: number | undefined): ConfigError {
  return new ConfigError(
    `a session was written by a newer Holdfast, or not by Holdfast (format ${format}; this one knows ${packedFormat}): upgrade Holdfast, or use another prefix`,
  )
}

function corrupt(): Error {
  return new Error('the stored record of a session is corrupt: it was cut short or overwritten')
}

/** Where the reading functions read next. Reading is synchronous, so one for all. */
let position = 0

/** Goes past the next `length` bytes, which must be there, and answers where they start. */
function advance(from: Uint8Array, length: number): number {
  const start = position
  position += length
  if (position > from.length) throw corrupt()
  return start
}

function isDistance(n: number): boolean {
  return Number.isInteger(n) && n >= 0 && n < 2 ** 49
}

function writeUint(into: Uint8Array, at: number, length: number, n: number): void {
  for (let i = at + length - 1; i >= at; i--) {
    into[i] = n % 256
    n = Math.floor(n / 256)
  }
}

function readUint(from: Uint8Array, at: number, length: number): number {
  let n = 0
  for (let i = at; i < at + length; i++) n = n * 256 + from[i]!
  return n
}

/** Seven bits a byte, the low ones first, as in Protocol Buffers. */
function writeVarint(into: Uint8Array, at: number, n: number): number {
  while (n >= 128) {
    into[at++] = (n % 128) | 128
    n = Math.floor(n / 128)
  }
  into[at++] = n
  return at
}

function readVarint(from: Uint8Array): number {
  let n = 0
  for (let unit = 1; unit < 2 ** 53; unit *= 128) {
    const byte = from[advance(from, 1)]!
    n += (byte & 127) * unit
    if (byte < 128) return n
  }
  throw corrupt()
}

function writeDouble(into: Uint8Array, at: number, n: number): number {
  new DataView(into.buffer, into.byteOffset).setFloat64(at, n)
  return at + 8
}

function readDouble(from: Uint8Array): number {
  return new DataView(from.buffer, from.byteOffset).getFloat64(advance(from, 8))
}

function readText(from: Uint8Array, length: number): string {
  const start = advance(from, length)
  return readUtf8(from, start, position)
}
