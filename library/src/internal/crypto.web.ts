// Hashing and base64url on every runtime with WebCrypto.

export async function sha256(text: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))))
}

/** SHA-256 as a key of a map. Not to be stored or sent. */
export function digest(text: string): Promise<string> {
  return sha256(text)
}

export function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}
