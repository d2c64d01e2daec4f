// What an answer varies by (RFC 9110, section 12.5.5).

/** `vary` with `header`, in lower case, among what it names. */
export function withVary(vary: string | null, header: string): string {
  if (vary === null) return header
  const named = vary.split(',').map((name) => name.trim().toLowerCase())
  return named.includes(header) || named.includes('*') ? vary : `${vary}, ${header}`
}
