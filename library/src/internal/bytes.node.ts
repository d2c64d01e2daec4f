// Text and bytes on Node, where Buffer does it in native code.

/** The class of the bytes of this runtime, for clients that want to be told which to give. */
export const Bytes: new (length: number) => Uint8Array = Buffer

/** Room for `length` bytes, not cleared: the caller writes all of them. */
export function room(length: number): Uint8Array {
  return Buffer.allocUnsafe(length)
}

/** How many bytes `text` takes in UTF-8. */
export function utf8Length(text: string): number {
  return Buffer.byteLength(text)
}

/** Writes `text` as UTF-8 at `at`. */
export function writeUtf8(into: Uint8Array, text: string, at: number): void {
  buffer(into).write(text, at)
}

export function readUtf8(from: Uint8Array, start: number, end: number): string {
  return buffer(from).toString('utf8', start, end)
}

/** Writes the bytes that `text` stands for at `at`; `false` unless they are `length` and `text` is their only spelling. */
export function writeBase64url(into: Uint8Array, text: string, at: number, length: number): boolean {
  const bytes = buffer(into)
  return bytes.write(text, at, length, 'base64url') === length && bytes.toString('base64url', at, at + length) === text
}

export function readBase64url(from: Uint8Array, start: number, end: number): string {
  return buffer(from).toString('base64url', start, end)
}

function buffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
