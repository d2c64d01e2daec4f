// `holdfast serve`: runs the service until it is told to stop.
import { parseArgs } from 'node:util'
import type { AddressInfo } from 'node:net'
import { openLog, type Log } from '../logs.ts'
import { createService, type RunningService } from '../service.ts'
import { readSettings, type Settings } from '../settings.ts'
import { StartError } from '../start-error.ts'
import { UsageError, type Command } from './command.ts'
import { welcome } from './welcome.ts'

/** How long requests under way may take when the service stops. */
const drainMs = 10_000

export const serve: Command = {
  summary: 'run the session service',
  help: `holdfast serve

Runs the session service until SIGTERM, SIGINT or SIGHUP. Settings are environment variables:

  HOLDFAST_PORT    4000            HOLDFAST_IDLE               30m
  HOLDFAST_HOST    127.0.0.1       HOLDFAST_ABSOLUTE           12h
  HOLDFAST_DATA    ./.holdfast     HOLDFAST_REMEMBER_IDLE      14d
  HOLDFAST_STORE   SQLite in the   HOLDFAST_REMEMBER_ABSOLUTE  30d
                   data folder     HOLDFAST_ACCESS_TOKEN       5m
  HOLDFAST_FEED    the store's     HOLDFAST_MAX_STALENESS      1s
  HOLDFAST_ISSUER  its own URL     HOLDFAST_AUDIENCE           the issuer
  HOLDFAST_LOG     info            HOLDFAST_TRUSTED_PROXIES, HOLDFAST_RULES: for /forward-auth
  HOLDFAST_ADMIN_SECRET, HOLDFAST_SECRET   made and kept in the data folder

docs/service.md says more about each.`,

  async run(args) {
    const { positionals } = parseArgs({ args: [...args], options: {}, allowPositionals: true })
    if (positionals.length > 0) throw new UsageError('serve takes no arguments; settings are environment variables')
    const settings = readSettings(process.env)
    const log = openLog(settings.log)
    const service = await createService(settings, log.logger)
    await listen(service, settings)
    const stopped = untilStopped(service, log)
    const { port } = service.app.server.address() as AddressInfo
    log.logger.info({ store: settings.store.shown, feed: settings.feed?.shown, host: settings.host, port }, 'listening')
    if (settings.store.kind === 'memory') {
      log.logger.warn(
        'the store is memory: sessions and clients are lost when the service stops, and not shared with replicas',
      )
    }
    process.stderr.write(welcome({ ...settings, port }))
    return stopped
  },
}

async function listen({ app, stop }: RunningService, { host, port }: Settings): Promise<void> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    await stop(0)
    throw cantListen(error, host, port)
  }
}

function cantListen(error: unknown, host: string, port: number): StartError {
  const { code } = error as NodeJS.ErrnoException
  switch (code) {
    case 'EADDRINUSE':
      return new StartError(
        `HOLDFAST_PORT: port ${port} on ${host} is taken: stop who has it, or set HOLDFAST_PORT to another`,
        error,
      )
    case 'EACCES':
      return new StartError(`HOLDFAST_PORT: this user may not listen on port ${port}: use one from 1024 on`, error)
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new StartError(
        `HOLDFAST_HOST: ${host} is no address of this machine: use 127.0.0.1, or 0.0.0.0 for all of them`,
        error,
      )
    default:
      return new StartError(`can't listen on ${host} port ${port} (${code ?? 'unknown error'})`, error)
  }
}

function untilStopped(service: RunningService, log: Log): Promise<number> {
  const { logger } = log
  // Nothing in the process is half done when an exception gets this far: sessions are in the store. So it is reported, and
  // the next request is answered.
  process.on('uncaughtException', (err) => logger.fatal({ err }, 'an error was not handled'))
  process.on('unhandledRejection', (err) => logger.fatal({ err }, 'an error was not handled'))

  return new Promise((resolve) => {
    let stopping = false
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(1)
        stopping = true
        void stop(signal).then(resolve)
      })
    }
  })

  async function stop(signal: string): Promise<number> {
    let code = 0
    logger.info({ signal }, 'stopping: requests under way are answered first')
    try {
      await service.stop(drainMs)
      logger.info('stopped')
    } catch (err) {
      logger.fatal({ err }, 'could not stop in good order')
      code = 1
    }
    await log.close()
    return code
  }
}
