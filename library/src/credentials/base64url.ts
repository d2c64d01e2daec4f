// Base64url → bytes, of which each has one spelling.
import { room, writeBase64url } from '#bytes'

/** `null` unless `text` is the only spelling of some bytes: no padding, no spaces, unused bits zero. */
export function bytesOf(text: string): Uint8Array | null {
  const bytes = room(Math.floor((text.length * 3) / 4))
  return writeBase64url(bytes, text, 0, bytes.length) ? bytes : null
}
