// Text that keeps nothing else alive.

/** A copy: engines keep the whole text of which a part was taken for as long as the part lives, such as all of a request's cookies. */
export function owned(part: string): string {
  return ` ${part}`.slice(1)
}
