// Durations as people write them.
import { ConfigError } from '../errors.ts'

/** A length of time: `'500ms'`, `'30s'`, `'15m'`, `'12h'`, `'30d'`. */
export type Duration = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of a duration. `ConfigError`, naming `option`, when it is not a positive one. */
export function milliseconds(option: string, duration: Duration): number {
  const parts = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(duration)
  const ms = parts === null ? 0 : Number(parts[1]) * units[parts[2]!]!
  if (ms <= 0 || !Number.isSafeInteger(ms)) {
    throw new ConfigError(
      `${option}: expected a positive duration such as '30s', '15m', '12h' or '30d', got '${duration}'`,
    )
  }
  return ms
}
