// Text and bytes on every runtime with TextEncoder and btoa.

const encoder = new TextEncoder()
// A byte order mark at the start is text of the user's like any other.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** The class of the bytes of this runtime, for clients that want to be told which to give. */
export const Bytes: new (length: number) => Uint8Array = Uint8Array

/** Room for `length` bytes. */
export function room(length: number): Uint8Array {
  return new Uint8Array(length)
}

/** How many bytes `text` takes in UTF-8. */
export function utf8Length(text: string): number {
  return encoder.encode(text).length
}

/** Writes `text` as UTF-8 at `at`. */
export function writeUtf8(into: Uint8Array, text: string, at: number): void {
  encoder.encodeInto(text, into.subarray(at))
}

export function readUtf8(from: Uint8Array, start: number, end: number): string {
  return decoder.decode(from.subarray(start, end))
}

/** Writes the bytes that `text` stands for at `at`; `false` unless they are `length` and `text` is their only spelling. */
export function writeBase64url(into: Uint8Array, text: string, at: number, length: number): boolean {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length !== Math.ceil((length * 4) / 3)) return false
  const bytes = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  for (let i = 0; i < length; i++) into[at + i] = bytes.charCodeAt(i)
  return readBase64url(into, at, at + length) === text
}

export function readBase64url(from: Uint8Array, start: number, end: number): string {
  return btoa(String.fromCharCode(...from.subarray(start, end)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}
