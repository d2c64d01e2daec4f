// The settings: environment variables, all checked at once, each problem naming its variable.
import { join, resolve } from 'node:path'
import type { Duration } from 'holdfast'
import { feedMissing, parseFeedUrl, type FeedUrl } from './engines/feed-url.ts'
import { parseStoreUrl, type StoreUrl } from './engines/store-url.ts'
import { readPeers } from './forward-auth/trusted-peers.ts'
import { nearest } from './nearest.ts'
import { StartError } from './start-error.ts'

export interface Settings {
  readonly port: number
  readonly host: string
  /** Absolute. */
  readonly dataFolder: string
  readonly store: StoreUrl
  /** `null`: that of the engine which keeps the sessions. */
  readonly feed: FeedUrl | null
  /** `null`: made once and kept in the data folder. */
  readonly adminSecret: string | null
  /** Encrypts private keys. `null`: made once and kept in the data folder. */
  readonly secret: string | null
  /** Who signs tokens, an URL, character by character. */
  readonly issuer: string
  /** Whom signed tokens are for. */
  readonly audience: string
  readonly accessToken: Duration
  readonly maxStaleness: Duration
  readonly lifetime: {
    readonly idle: Duration
    readonly absolute: Duration
    readonly remember: { readonly idle: Duration; readonly absolute: Duration }
  }
  readonly log: LogLevel
  /** Addresses and networks whose questions at `/forward-auth` are answered. */
  readonly trustedProxies: readonly string[]
  /** The file of their rules, absolute; `null`: there are none. */
  readonly rules: string | null
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
  HOLDFAST_DATA: variable('./.holdfast', readPath),
  HOLDFAST_STORE: variable<StoreUrl | null>(null, parseStoreUrl),
  HOLDFAST_FEED: variable<FeedUrl | null>(null, parseFeedUrl),
  HOLDFAST_ADMIN_SECRET: variable<string | null>(null, readSecret),
  HOLDFAST_SECRET: variable<string | null>(null, readSecret),
  HOLDFAST_ISSUER: variable<string | null>(null, readIssuer),
  HOLDFAST_AUDIENCE: variable<string | null>(null, readAudience),
  HOLDFAST_ACCESS_TOKEN: variable<Duration>('5m', (text) => readBetween(text, '10s', '24h')),
  HOLDFAST_MAX_STALENESS: variable<Duration>('1s', (text) => readBetween(text, '500ms', '60s')),
  HOLDFAST_IDLE: variable<Duration>('30m', readDuration),
  HOLDFAST_ABSOLUTE: variable<Duration>('12h', readDuration),
  HOLDFAST_REMEMBER_IDLE: variable<Duration>('14d', readDuration),
  HOLDFAST_REMEMBER_ABSOLUTE: variable<Duration>('30d', readDuration),
  HOLDFAST_LOG: variable<LogLevel>('info', readLogLevel),
  HOLDFAST_TRUSTED_PROXIES: variable<readonly string[]>([], readPeers),
  HOLDFAST_RULES: variable<string | null>(null, (text) => resolve(readPath(text))),
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
  const host = get('HOLDFAST_HOST', v.HOLDFAST_HOST)
  const port = get('HOLDFAST_PORT', v.HOLDFAST_PORT)
  const issuer = get('HOLDFAST_ISSUER', v.HOLDFAST_ISSUER) ?? serviceUrl({ host, port })
  const settings: Settings = {
    port,
    host,
    dataFolder,
    store: get('HOLDFAST_STORE', v.HOLDFAST_STORE) ?? defaultStore(dataFolder),
    feed: get('HOLDFAST_FEED', v.HOLDFAST_FEED),
    adminSecret: get('HOLDFAST_ADMIN_SECRET', v.HOLDFAST_ADMIN_SECRET),
    secret: get('HOLDFAST_SECRET', v.HOLDFAST_SECRET),
    issuer,
    audience: get('HOLDFAST_AUDIENCE', v.HOLDFAST_AUDIENCE) ?? issuer,
    accessToken: get('HOLDFAST_ACCESS_TOKEN', v.HOLDFAST_ACCESS_TOKEN),
    maxStaleness: get('HOLDFAST_MAX_STALENESS', v.HOLDFAST_MAX_STALENESS),
    lifetime: {
      idle: get('HOLDFAST_IDLE', v.HOLDFAST_IDLE),
      absolute: get('HOLDFAST_ABSOLUTE', v.HOLDFAST_ABSOLUTE),
      remember: {
        idle: get('HOLDFAST_REMEMBER_IDLE', v.HOLDFAST_REMEMBER_IDLE),
        absolute: get('HOLDFAST_REMEMBER_ABSOLUTE', v.HOLDFAST_REMEMBER_ABSOLUTE),
      },
    },
    log: get('HOLDFAST_LOG', v.HOLDFAST_LOG),
    trustedProxies: get('HOLDFAST_TRUSTED_PROXIES', v.HOLDFAST_TRUSTED_PROXIES),
    rules: get('HOLDFAST_RULES', v.HOLDFAST_RULES),
  }
  const { lifetime, store, feed } = settings
  if (feed?.kind === 'memory' && store.kind !== 'memory') {
    problems.push(
      'HOLDFAST_FEED: memory: is inside of one process, but others may end sessions in this store: leave it unset',
    )
  }
  const hasNoFeed = store.kind === 'dynamodb' || store.kind === 'mongodb'
  if (hasNoFeed && (env['HOLDFAST_FEED'] ?? '') === '') problems.push(feedMissing)
  checkOrder(problems, 'HOLDFAST_IDLE', lifetime.idle, 'HOLDFAST_ABSOLUTE', lifetime.absolute)
  const { idle, absolute } = lifetime.remember
  checkOrder(problems, 'HOLDFAST_REMEMBER_IDLE', idle, 'HOLDFAST_REMEMBER_ABSOLUTE', absolute)
  if (problems.length > 0) throw new StartError(problems)
  return settings
}

/** Where a service that listens there is reached from this machine. */
export function serviceUrl({ host, port }: Pick<Settings, 'host' | 'port'>): string {
  // Whoever listens on all addresses is reached on this one.
  const reached = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
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

function readPath(text: string): string {
  if (text.includes('\0')) throw new Error('expected a path')
  return text
}

function readSecret(text: string): string {
  if (!/^[\x21-\x7e]{32,256}$/.test(text)) {
    throw new Error('expected 32 to 256 characters of visible ASCII, no spaces; make one with: openssl rand -base64 32')
  }
  return text
}

/** RFC 8414, section 2, but for plain HTTP, which a network of one's own may use. Compared as it stands, so it is kept as it stands. */
function readIssuer(text: string): string {
  if (text.length > 512 || !/^https?:\/\/[\x21-\x7e]+$/.test(text) || !URL.canParse(text) || /[?#@]/.test(text)) {
    throw new Error(
      'expected the URL by which callers reach the service, without query, fragment or user, such as https://sessions.example',
    )
  }
  return text
}

function readAudience(text: string): string {
  if (!/^[\x21-\x7e]{1,512}$/.test(text)) throw new Error('expected up to 512 characters of visible ASCII, no spaces')
  return text
}

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function ms(duration: Duration): number {
  const [, number, unit] = /^([\d.]+)([a-z]+)$/.exec(duration)!
  return Number(number) * units[unit!]!
}

function readDuration(text: string): Duration {
  return readBetween(text, '1s', '400d', ', such as 30m, 12h or 14d')
}

function readBetween(text: string, least: Duration, most: Duration, examples = ''): Duration {
  const isOne = /^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text)
  if (!isOne || ms(text as Duration) < ms(least) || ms(text as Duration) > ms(most))
    throw new Error(`expected a duration from ${least} to ${most}${examples}, got '${text}'`)
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
