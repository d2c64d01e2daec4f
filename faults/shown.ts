// A report, for people.
import type { Report } from './checker.ts'

const violationsAtMost = 20

export function shown({ violations, voids, faults, counts, refreshes }: Report): string {
  const byRule = Map.groupBy(violations, ({ rule }) => rule)
  const lines = [
    '',
    'fault | times | endings | last accept after an ending, ms',
    ...faults.map(
      ({ name, times, endings, maxAcceptMs }) => `${name} | ${times} | ${endings} | ${maxAcceptMs.toFixed(0)}`,
    ),
    '',
    `all: ${list(counts)}`,
    `refreshes: ${list(refreshes)}`,
    ...[...byRule].map(([rule, all]) => `✖ ${rule}: ${all.length}`),
    ...violations.slice(0, violationsAtMost).map(({ rule, what }) => `  ${rule}: ${what}`),
    ...voids.map((why) => `✖ void: ${why}`),
    violations.length + voids.length === 0 ? '✔ everything held' : '✖ not what it should be',
  ]
  return lines.join('\n')
}

function list(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')
}
