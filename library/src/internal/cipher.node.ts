// Authenticated encryption of text on Node: AES-256-GCM, as base64url of nonce, ciphertext and tag.
import { createCipheriv, createDecipheriv } from 'node:crypto'

const algorithm = 'aes-256-gcm'
const nonceBytes = 12
/** Stated, since Node would take a tag cut to 4 bytes. */
const authTagLength = 16

/** `purpose` is bound to it: what was sealed for one purpose opens for no other. `key` is 32 bytes, `random` makes the nonce. */
export function seal(
  key: Uint8Array,
  text: string,
  purpose: string,
  random: (bytes: number) => Uint8Array,
): string | Promise<string> {
  const nonce = random(nonceBytes)
  const cipher = createCipheriv(algorithm, key, nonce, { authTagLength }).setAAD(Buffer.from(purpose))
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64url')
}

/** The text, or `null` when it was not sealed with this key for this purpose, or is not exactly what was sealed. */
export function unseal(key: Uint8Array, sealed: string, purpose: string): string | null | Promise<string | null> {
  const bytes = Buffer.from(sealed, 'base64url')
  if (bytes.length < nonceBytes + authTagLength || bytes.toString('base64url') !== sealed) return null
  const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, nonceBytes), { authTagLength })
  decipher.setAAD(Buffer.from(purpose)).setAuthTag(bytes.subarray(-authTagLength))
  try {
    const text = decipher.update(bytes.subarray(nonceBytes, -authTagLength))
    decipher.final()
    return text.toString('utf8')
  } catch {
    return null
  }
}
