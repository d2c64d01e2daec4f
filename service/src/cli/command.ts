// What a command is, and how it speaks.

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string
  /** The whole help. */
  readonly help: string
  /** Resolves with the exit code: 0 done, 1 could not, 2 was not understood. */
  run(args: readonly string[]): Promise<number>
}

/** The command line was not understood; shown with a pointer to the help, exit code 2. */
export class UsageError extends Error {}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Columns as wide as what stands in them. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
