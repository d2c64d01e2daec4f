// A reason why a command can't do its work that its user can do something about.

/** Printed as it stands, one line per problem, without a stack; the process exits with 1. Holds no secret. */
export class StartError extends Error {
  readonly problems: readonly string[]
  constructor(problems: string | readonly string[], cause?: unknown) {
    const lines = [problems].flat()
    super(lines.join('\n'), { cause })
    this.problems = lines
  }
}
