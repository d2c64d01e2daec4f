// What `holdfast migrate` does for an engine whose tables somebody may want to make by hand.

export interface Migration {
  /** Makes what is missing and leaves what is there; safe to run again. A DBA may run it instead of `apply`. */
  readonly sql: string
  /** Runs it. Rejects with `StartError` that says which right is missing. */
  apply(): Promise<void>
}
