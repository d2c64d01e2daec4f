// Comparing secrets, and hashes of them.

/** Looks at every character, so that time tells nothing of where two texts of the same length differ. */
export function sameText(a: string, b: string): boolean {
  let difference = a.length ^ b.length
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
