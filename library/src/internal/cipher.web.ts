// Authenticated encryption of text on every runtime with WebCrypto: AES-256-GCM, as base64url of nonce, ciphertext and tag.

const algorithm = 'AES-GCM'
const nonceBytes = 12
const tagLength = 128
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** `purpose` is bound to it: what was sealed for one purpose opens for no other. `key` is 32 bytes, `random` makes the nonce. */
export async function seal(
  key: Uint8Array,
  text: string,
  purpose: string,
  random: (bytes: number) => Uint8Array,
): Promise<string> {
  const nonce = new Uint8Array(random(nonceBytes))
  const how = { name: algorithm, iv: nonce, additionalData: encoder.encode(purpose), tagLength }
  const sealed = new Uint8Array(await crypto.subtle.encrypt(how, await imported(key), encoder.encode(text)))
  const bytes = new Uint8Array(nonceBytes + sealed.length)
  bytes.set(nonce)
  bytes.set(sealed, nonceBytes)
  return encoded(bytes)
}

/** The text, or `null` when it was not sealed with this key for this purpose, or is not exactly what was sealed. */
export async function unseal(key: Uint8Array, sealed: string, purpose: string): Promise<string | null> {
  const bytes = decoded(sealed)
  if (bytes === null || bytes.length < nonceBytes + tagLength / 8) return null
  const iv = bytes.subarray(0, nonceBytes)
  const how = { name: algorithm, iv, additionalData: encoder.encode(purpose), tagLength }
  try {
    return decoder.decode(await crypto.subtle.decrypt(how, await imported(key), bytes.subarray(nonceBytes)))
  } catch {
    return null
  }
}

function imported(key: Uint8Array): ReturnType<typeof crypto.subtle.importKey> {
  return crypto.subtle.importKey('raw', new Uint8Array(key), algorithm, false, ['encrypt', 'decrypt'])
}

/** `null` when `text` is not the one spelling of some bytes. */
function decoded(text: string): Uint8Array<ArrayBuffer> | null {
  if (!/^[\w-]*$/.test(text) || text.length % 4 === 1) return null
  const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0))
  return encoded(bytes) === text ? bytes : null
}

/** Piece by piece: a call takes only so many arguments. */
function encoded(bytes: Uint8Array): string {
  let plain = ''
  for (let at = 0; at < bytes.length; at += 8_192) plain += String.fromCharCode(...bytes.subarray(at, at + 8_192))
  return btoa(plain).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
