// What is written down during a run: who did what, when, and what came of it. Lines of JSON, so that a killed process leaves its part.
import { mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** What every operation has. */
interface Operation {
  /** The process, with how often it had been started. */
  readonly node: string
  /** CLOCK_MONOTONIC of the one machine, in ms: the same clock in every process, whatever is done to the others. */
  readonly began: number
  /** `Infinity`: never answered. */
  readonly ended: number
  /** Why it failed, for whoever reads the history. */
  readonly why?: string | undefined
}

/** `failed`: it could not be known, as by a 503. `refused: …`: the reason of `session.refused`. */
export type OpenOutcome = 'accepted' | 'failed' | `refused: ${string}`

export interface Opened extends Operation {
  readonly kind: 'open'
  readonly id: string
  readonly outcome: OpenOutcome
  /** As the session that was opened says. */
  readonly userId: string | null
  readonly roles: readonly string[]
  /** When the making of the token that was presented began. */
  readonly issuedAt: number
}

export interface Started extends Operation {
  readonly kind: 'start'
  /** `null` when it failed. */
  readonly id: string | null
  readonly userId: string
  readonly roles: readonly string[]
  readonly isSigned: boolean
}

export interface Ended extends Operation {
  readonly kind: 'end'
  readonly by: 'end' | 'endUser' | 'signIn'
  readonly ids: readonly string[]
  /** Answered as done; else unknown. */
  readonly done: boolean
}

export interface RolesSet extends Operation {
  readonly kind: 'roles'
  readonly ids: readonly string[]
  readonly roles: readonly string[]
  readonly done: boolean
}

export interface Refreshed extends Operation {
  readonly kind: 'refresh'
  readonly id: string
  /** Of the token that was presented: 1 for the first. */
  readonly generation: number
  readonly stolen: boolean
  readonly outcome: 'given' | 'failed' | `refused: ${string}`
  /** SHA-256 of the refresh token that was given. */
  readonly successor: string | null
}

/** Something that was broken on purpose. */
export interface Fault {
  readonly kind: 'fault'
  readonly name: string
  readonly target: string
  readonly began: number
  readonly ended: number
  /** Up to here requests may still fail because of it. */
  readonly recoveredAt: number
  /** Writes that were acknowledged before it may be lost by it: a failover of an engine that replicates asynchronously. */
  readonly loses: boolean
}

/** A process got no CPU: the machine was busy with something else, and calls may have run into their deadlines. */
export interface Stall {
  readonly kind: 'stall'
  readonly node: string
  readonly began: number
  readonly ended: number
}

export type Entry = Opened | Started | Ended | RolesSet | Refreshed | Fault | Stall

export function clock(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

export interface Recorder {
  (entry: Entry): void
}

/** Each process has its own file. Written at once: what happened before a `kill -9` is there. */
export function recorder(folder: string, name: string): Recorder {
  mkdirSync(folder, { recursive: true })
  const file = openSync(join(folder, `${name}.jsonl`), 'a')
  return (entry) => void writeSync(file, `${JSON.stringify(entry)}\n`)
}

/** In the order in which things began. */
export function readHistory(folder: string): readonly Entry[] {
  const entries = readdirSync(folder)
    .filter((name) => name.endsWith('.jsonl'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
    .flatMap(parse)
  return entries.sort((a, b) => a.began - b.began)
}

/** The last line of a process that was killed may be half a line. JSON has no `Infinity`. */
function parse(line: string): Entry[] {
  try {
    const entry = JSON.parse(line) as Entry
    return [{ ...entry, ended: entry.ended ?? Infinity }]
  } catch {
    return []
  }
}

const lookEveryMs = 50
const stalledMs = 150

/** Writes down when this process was held up. */
export function watchForStalls(record: Recorder, node: string): () => void {
  let before = clock()
  const timer = setInterval(() => {
    const now = clock()
    if (now - before > stalledMs) record({ kind: 'stall', node, began: before, ended: now })
    before = now
  }, lookEveryMs)
  return () => clearInterval(timer)
}
