// The log: JSON lines with when, who, what and how it went. No secret, token, cookie or header ever enters it.
import { hash } from 'node:crypto'
import type { SessionEvent } from 'holdfast'
import { pino, type DestinationStream, type Logger } from 'pino'
import { logOutput } from './log-output.ts'
import type { LogLevel } from './settings.ts'

export type { Logger } from 'pino'

export interface Log {
  readonly logger: Logger
  /** Writes out what is left, for the end of the process. Resolves within a second or so, whoever reads. */
  close(): Promise<void>
}

/** On stdout. */
export function openLog(level: LogLevel): Log {
  const output = logOutput(1)
  return { logger: createLogger(level, output), close: () => output.close() }
}

export function createLogger(level: LogLevel, destination: DestinationStream): Logger {
  return pino(
    {
      level,
      base: { name: 'holdfast' },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
    },
    destination,
  )
}

/** Session events as log lines. */
export function logEvents(logger: Logger, logId: (id: string) => string): (event: SessionEvent) => void {
  return (event) => {
    switch (event.type) {
      case 'started':
        // Of a user's session the next event tells more.
        if (event.userId === null) logger.info({ session: logId(event.id) }, 'guest session started')
        break
      case 'signed-in':
        logger.info({ session: logId(event.id), user: event.userId }, 'session started')
        break
      case 'ended':
        logger.info(
          { sessions: event.ids.map(logId), user: event.userId ?? undefined, reason: event.reason },
          'session ended',
        )
        break
      case 'refused':
        logger.info({ session: event.id === null ? undefined : logId(event.id), reason: event.reason }, 'token refused')
        break
      case 'roles-changed':
        logger.info({ session: logId(event.id), user: event.userId, roles: event.roles }, 'roles changed')
        break
      case 'denied':
        logger.info(
          {
            session: event.id === null ? undefined : logId(event.id),
            user: event.userId ?? undefined,
            missing: event.missing,
          },
          'access denied',
        )
        break
      case 'touch-failed':
        logger.warn({ session: logId(event.id), err: event.cause }, 'a session could not be extended')
        break
      case 'store-down':
        logger.error({ err: event.cause }, 'the store does not answer')
        break
      case 'refreshed':
        if (event.outcome === 'reused')
          logger.warn(
            { session: logId(event.id), user: event.userId },
            'a spent refresh token came back: somebody has a copy, and the session ends',
          )
        else logger.info({ session: logId(event.id), user: event.userId, outcome: event.outcome }, 'session refreshed')
        break
      case 'trusted-stale':
        logger.warn({ session: logId(event.id) }, 'a signed token was accepted though its session may have ended')
        break
      case 'feed-down':
        logger.error({ err: event.cause }, 'the feed does not answer; the store is asked at each request')
        break
      case 'feed-up':
        logger.warn('the feed answers again')
        break
      case 'feed-gap':
        logger.warn(
          { republished: event.republished },
          'endings may have been missed: nothing cached is believed, and the latest endings are published again',
        )
        break
      case 'store-up':
        logger.warn('the store answers again')
        break
      default:
        logger.warn({ type: event.type }, 'session event')
    }
  }
}

/**
 * Ids as the log has them: a hash with a key, so that a log alone names no session. The key comes from the admin secret, so all
 * replicas with the same one, and `holdfast sessions`, give an id the same name.
 */
export function logIds(adminSecretHash: string): (id: string) => string {
  const key = hash('sha256', `log ids:${adminSecretHash}`, 'base64url')
  return (id) => hash('sha256', `${key}${id}`, 'base64url').slice(0, 16)
}

/** Engines never see a token or a secret, only hashes, so their messages may be kept. */
function describeError(error: unknown): Record<string, unknown> | string {
  if (!(error instanceof Error)) return typeof error
  const { name, message, stack, cause } = error
  const { code } = error as { code?: unknown }
  return { type: name, message, code, stack, cause: cause === undefined ? undefined : describeError(cause) }
}
