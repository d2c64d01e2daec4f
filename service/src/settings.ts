// The settings: environment variables, all checked at once, each problem naming its variable.
import { join, resolve } from 'node:path'
import type { Duration } from 'holdfast'
import { parseStoreUrl, type StoreUrl } from './engines/store-url.ts'
import { nearest } from './nearest.ts'
import { StartError } from './start-error.ts'

export interface Settings {
  readonly port: number
  readonly host: string
  /** Absolute. */
  readonly dataFolder: string
  readonly store: StoreUrl
  /** `null`: made once and kept in the data folder. */
  readonly adminSecret: string | null
  readonly lifetime: {
    readonly idle: Duration
    readonly absolute: Duration
    readonly remember: { readonly idle: Duration; readonly absolute: Duration }
  }
  readonly log: LogLevel
}

export const logLevels = ['info', 'warn', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** One variable: what it is when unset, and how its text is read. Readers throw an `Error` that says what was expected. */
interface Variable<T> {
  readonly unset: T
  read(text: string): T
}

const variables = {
  HOLDFAST_PORT: variable(4000, readPort),
  HOLDFAST_HOST: variable('127.0.0.1', readHost),
  HOLDFAST_DATA: variable('./.holdfast', readFolder),
  HOLDFAST_STORE: variable<StoreUrl | null>(null, parseStoreUrl),
  HOLDFAST_ADMIN_SECRET: variable<string | null>(null, readSecret),
  HOLDFAST_IDLE: variable<Duration>('30m', readDuration),
  HOLDFAST_ABSOLUTE: variable<Duration>('12h', readDuration),
  HOLDFAST_REMEMBER_IDLE: variable<Duration>('14d', readDuration),
  HOLDFAST_REMEMBER_ABSOLUTE: variable<Duration>('30d', readDuration),
  HOLDFAST_LOG: variable<LogLevel>('info', readLogLevel),
}

/** Every setting there is, by name. */
export const settingNames: readonly string[] = Object.keys(variables)

/** Throws `StartError` with every problem there is. An empty variable counts as unset. */
export function readSettings(env: Readonly<Record<string, string | undefined>>): Settings {
  const problems = Object.keys(env).filter(isUnknown).map(unknown)

  function get<T>(name: keyof typeof variables & string, { unset, read }: Variable<T>): T {
    const text = env[name]
    if (text === undefined || text === '') return unset
    try {
      return read(text)
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}`)
      return unset
    }
  }

  const v = variables
  const dataFolder = resolve(get('HOLDFAST_DATA', v.HOLDFAST_DATA))
  const settings: Settings = {
    port: get('HOLDFAST_PORT', v.HOLDFAST_PORT),
    host: get('HOLDFAST_HOST', v.HOLDFAST_HOST),
    dataFolder,
    store: get('HOLDFAST_STORE', v.HOLDFAST_STORE) ?? defaultStore(dataFolder),
    adminSecret: get('HOLDFAST_ADMIN_SECRET', v.HOLDFAST_ADMIN_SECRET),
    lifetime: {
      idle: get('HOLDFAST_IDLE', v.HOLDFAST_IDLE),
      absolute: get('HOLDFAST_ABSOLUTE', v.HOLDFAST_ABSOLUTE),
      remember: {
        idle: get('HOLDFAST_REMEMBER_IDLE', v.HOLDFAST_REMEMBER_IDLE),
        absolute: get('HOLDFAST_REMEMBER_ABSOLUTE', v.HOLDFAST_REMEMBER_ABSOLUTE),
      },
    },
    log: get('HOLDFAST_LOG', v.HOLDFAST_LOG),
  }
  const { lifetime } = settings
  checkOrder(problems, 'HOLDFAST_IDLE', lifetime.idle, 'HOLDFAST_ABSOLUTE', lifetime.absolute)
  const { idle, absolute } = lifetime.remember
  checkOrder(problems, 'HOLDFAST_REMEMBER_IDLE', idle, 'HOLDFAST_REMEMBER_ABSOLUTE', absolute)
  if (problems.length > 0) throw new StartError(problems)
  return settings
}

function variable<T>(unset: T, read: (text: string) => T): Variable<T> {
  return { unset, read }
}

function defaultStore(dataFolder: string): StoreUrl {
  const path = join(dataFolder, 'holdfast.db')
  return { kind: 'sqlite', path, shown: `sqlite:${path}` }
}

function readPort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new Error(`expected 0 to 65535, got '${text}'`)
  return Number(text)
}

function readHost(text: string): string {
  if (!/^[\w.:-]{1,253}$/.test(text)) throw new Error(`expected an address or host name such as 0.0.0.0, got '${text}'`)
  return text
}

function readFolder(text: string): string {
  if (text.includes('\0')) throw new Error('expected the path of a folder')
  return text
}

function readSecret(text: string): string {
  if (!/^[\x21-\x7e]{32,256}$/.test(text)) {
    throw new Error('expected 32 to 256 characters of visible ASCII, no spaces; make one with: openssl rand -base64 32')
  }
  return text
}

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function ms(duration: Duration): number {
  const [, number, unit] = /^([\d.]+)([a-z]+)$/.exec(duration)!
  return Number(number) * units[unit!]!
}

function readDuration(text: string): Duration {
  const right =
    /^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text) && ms(text as Duration) >= 1000 && ms(text as Duration) <= 400 * units['d']!
  if (!right) throw new Error(`expected a duration from 1s to 400d, such as 30m, 12h or 14d, got '${text}'`)
  return text as Duration
}

function readLogLevel(text: string): LogLevel {
  const level = logLevels.find((known) => known === text)
  if (level === undefined) throw new Error(`expected ${logLevels.join(', ')}, got '${text}'`)
  return level
}

function checkOrder(
  problems: string[],
  idleName: string,
  idle: Duration,
  absoluteName: string,
  absolute: Duration,
): void {
  if (ms(idle) > ms(absolute)) problems.push(`${idleName}: ${idle} is longer than ${absoluteName} (${absolute})`)
}

function isUnknown(name: string): boolean {
  return name.startsWith('HOLDFAST_') && !settingNames.includes(name)
}

function unknown(name: string): string {
  const meant = nearest(name, settingNames, 4)
  const hint = meant === null ? `there are ${settingNames.join(', ')}` : `did you mean ${meant}?`
  return `${name}: there is no such setting; ${hint}`
}
