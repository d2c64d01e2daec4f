// Hashing and base64url on Node, where the synchronous crypto is ten times faster than WebCrypto.
import { hash } from 'node:crypto'

export function sha256(text: string): string | Promise<string> {
  return hash('sha256', text, 'base64url')
}

/** SHA-256 as a key of a map: short, since a map hashes it again. Not to be stored or sent. */
export function digest(text: string): string | Promise<string> {
  return hash('sha256', text, 'binary')
}

export function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}
