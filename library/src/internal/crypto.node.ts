// Hashing and base64url on Node, where the synchronous crypto is ten times faster than WebCrypto.
import { hash } from 'node:crypto'

export function sha256(text: string): string | Promise<string> {
  return hash('sha256', text, 'base64url')
}

export function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}
