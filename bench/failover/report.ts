// What many failovers say together: medians, the worst of them, and sums of what was lost.
import { quantile, round, table } from '../harness/report.ts'
import type { Fault } from './engine.ts'
import type { Outcome, Trial } from './trial.ts'

/** In seconds after the fault. `null`: nothing failed; `never`: not before the network was whole again. */
interface Spread {
  readonly median: number | 'never' | null
  readonly max: number | 'never' | null
}

/** Of one setting under one fault. */
export interface Summary {
  readonly runs: number
  readonly promoted: Spread
  /** The engine's own client, alone: all of three. */
  readonly plain: Spread
  /** All processes write, verify again. */
  readonly writes: Spread
  readonly opens: Spread
  /** From the promotion until all processes write again. */
  readonly afterPromotion: Spread
  readonly acknowledged: Outcome['acknowledged']
  readonly lost: Outcome['lost']
  readonly missedAWhile: number
  readonly cameBack: number
  readonly backForGood: number
  readonly lastAcceptMs: number
  readonly wronglyRefused: number
  readonly anonymousFailed: number
  readonly longestMs: Outcome['longestMs']
  readonly hung: number
  readonly wrongs: readonly string[]
  /** The longest time for which the processes that were measured got no CPU. */
  readonly stallMs: number
}

export type Summaries = Readonly<Record<string, Summary>>

export function summaries(trials: readonly Trial[]): Summaries {
  const names = new Set(trials.flatMap(({ settings }) => Object.keys(settings)))
  return Object.fromEntries(
    [...names].map((name) => {
      const mine = trials.filter(({ settings }) => name in settings)
      const stallMs = Math.round(Math.max(...mine.map(({ stallMs }) => stallMs)))
      return [name, { ...summary(mine.map(({ settings }) => settings[name]!)), stallMs }]
    }),
  )
}

function summary(all: readonly Outcome[]): Omit<Summary, 'stallMs'> {
  const sum = (of: (one: Outcome) => number) => all.reduce((total, one) => total + of(one), 0)
  const most = (of: (one: Outcome) => number) => Math.round(Math.max(...all.map(of)))
  return {
    runs: all.length,
    promoted: spread(all.map(({ promotedMs }) => promotedMs)),
    plain: spread(all.map(({ plainMs }) => plainMs)),
    writes: spread(all.map(({ writesMs }) => writesMs)),
    opens: spread(all.map(({ opensMs }) => opensMs)),
    afterPromotion: spread(
      all.map(({ writesMs, promotedMs }) => (writesMs === null ? null : Math.max(0, writesMs - promotedMs))),
    ),
    acknowledged: {
      sessions: sum(({ acknowledged }) => acknowledged.sessions),
      updates: sum(({ acknowledged }) => acknowledged.updates),
      endings: sum(({ acknowledged }) => acknowledged.endings),
    },
    lost: { sessions: sum(({ lost }) => lost.sessions), updates: sum(({ lost }) => lost.updates) },
    missedAWhile: sum(({ missedAWhile }) => missedAWhile),
    cameBack: sum(({ cameBack }) => cameBack),
    backForGood: sum(({ backForGood }) => backForGood),
    lastAcceptMs: most(({ lastAcceptMs }) => lastAcceptMs),
    wronglyRefused: sum(({ wronglyRefused }) => wronglyRefused),
    anonymousFailed: sum(({ anonymousFailed }) => anonymousFailed),
    longestMs: {
      open: most(({ longestMs }) => longestMs.open),
      write: most(({ longestMs }) => longestMs.write),
      anonymous: most(({ longestMs }) => longestMs.anonymous),
    },
    hung: sum(({ hung }) => hung),
    wrongs: all.flatMap(({ wrongs }) => wrongs),
  }
}

function spread(all: readonly (number | null)[]): Spread {
  const some = all.filter((ms) => ms !== null).toSorted((a, b) => a - b)
  if (some.length === 0) return { median: null, max: null }
  // What never came back is not to be averaged.
  const median = some.includes(Infinity) ? some[Math.floor((some.length - 1) / 2)]! : quantile(some, 0.5)
  const seconds = (ms: number) => (ms === Infinity ? 'never' : round(ms / 1_000, 2))
  return { median: seconds(median), max: seconds(some.at(-1)!) }
}

/** Engine → fault → setting. */
export type Results = Readonly<
  Record<string, { readonly version: string; readonly faults: Partial<Record<Fault, Summaries>> }>
>

export function markdown(results: Results): string {
  const rows = Object.entries(results).flatMap(([name, { version, faults }]) =>
    Object.entries(faults).flatMap(([fault, settings]) =>
      Object.entries(settings).map(([setting, one]) => [
        `${version}${/-(\w+)/.exec(name)?.[0].replace('-', ' ') ?? ''}: ${fault}, ${setting}`,
        String(one.runs),
        shown(one.promoted),
        shown(one.plain),
        shown(one.writes),
        shown(one.afterPromotion),
        `${one.lost.sessions} of ${one.acknowledged.sessions}`,
        `${one.lost.updates} of ${one.acknowledged.updates}`,
        `${one.cameBack} (${one.backForGood}) of ${one.acknowledged.endings}`,
        (one.longestMs.open / 1_000).toFixed(1),
      ]),
    ),
  )
  return table(
    [
      's: median / worst',
      'runs',
      'new primary',
      "the engine's client writes",
      'Holdfast writes',
      'after the promotion',
      'sessions lost',
      'updates lost',
      'endings that came back (for good)',
      'longest verification, s',
    ],
    rows,
  )
}

function shown({ median, max }: Spread): string {
  const text = (value: Spread['median']) => (typeof value === 'number' ? value.toFixed(1) : (value ?? '–'))
  return median === null ? '–' : `${text(median)} / ${text(max)}`
}
