// What a kind of credential is: a string the client holds, and what the store keeps of it.

/** A credential just made. */
export interface Issued {
  readonly id: string
  /** For the client. Secret. */
  readonly token: string
  /** For the store: can't be turned back into the token. */
  readonly kept: string
}

/** What a credential says before anything was checked. */
export interface Claim {
  readonly id: string
  readonly secret: string
}

/** String ⇄ claim. No I/O. */
export interface Credentials {
  issue(random: (bytes: number) => Uint8Array): Promise<Issued>
  /** The claim in a string of exactly the right form, else `null`. */
  read(token: string): Claim | null
  /** Whether `text` has the form of an id. What has not is looked for in no store. */
  isId(text: string): boolean
  /** Whether `claim` is the one of which the store kept `kept`. Takes the same time wherever they differ. */
  matches(claim: Claim, kept: string): boolean | Promise<boolean>
}
