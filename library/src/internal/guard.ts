// What the guards of frameworks do with the session that a middleware put there before.

/** Throws what `session.require(what)` throws; where nobody opened a session, a plain error, which is a 500. */
export function guard<What>(session: { require(what: What): void } | null | undefined, what: What): void {
  if (session === null || session === undefined)
    throw new Error('requires(…): this request has no session yet; put the session middleware before the guard')
  session.require(what)
}
